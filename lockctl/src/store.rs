//! Opens the store of a command.

use lock_any::Store;
use nix::unistd::Uid;

use crate::cli::StoreArgs;
use crate::exit::{ExitStatus, Failure};
use crate::output;

impl StoreArgs {
    /// Returns the given URL, or the user's default.
    pub(crate) fn url(&self) -> String {
        self.stores.first().cloned().unwrap_or_else(|| format!("shm:lockctl-{}", Uid::current()))
    }

    /// Checks that at most one store is given, for a command that works on one.
    pub(crate) fn check_single(&self) -> Result<(), Failure> {
        match self.stores.as_slice() {
            [] | [_] => Ok(()),
            [_, second, ..] => {
                let message =
                    format!("--store is given twice, the second time with {second}; only why and graph take several stores");
                Err(Failure::new(ExitStatus::USAGE, message))
            }
        }
    }

    /// Opens the stores, which must exist. A store that is given twice is opened once.
    pub(crate) fn open_all(&self) -> Result<Vec<Store>, Failure> {
        if self.stores.is_empty() {
            return Ok(vec![self.open()?]);
        }
        let mut stores: Vec<Store> = Vec::new();
        for url in &self.stores {
            let store = lock_any::open(url.as_str())?;
            if stores.iter().all(|other| other.id() != store.id()) {
                stores.push(store);
            }
        }
        Ok(stores)
    }

    /// Opens the store, which must exist.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        Ok(lock_any::open(self.url())?)
    }

    /// Opens the store. Creates an absent store unless `no_create` is set, as flock(1) creates its file. A message reports the creation
    /// of a store with an explicit URL, because a mistyped URL would exclude no other process.
    pub(crate) fn open_or_create(&self, no_create: bool) -> Result<Store, Failure> {
        let url = self.url();
        match lock_any::open(&url) {
            Err(error) if error.is_absent() && !no_create => {
                let store = lock_any::open_or_create(&url)?;
                if !self.stores.is_empty() {
                    output::message(format_args!("the store {} was absent; it is created", store.url()));
                }
                Ok(store)
            }
            result => Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_store_belongs_to_the_user() {
        let url = StoreArgs { stores: Vec::new() }.url();
        assert_eq!(url, format!("shm:lockctl-{}", Uid::current()));
        assert!(url.parse::<lock_any::StoreUrl>().is_ok());
    }
}
