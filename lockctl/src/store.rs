//! Opens the store of a command.

use lock_any::Store;
use nix::unistd::Uid;

use crate::cli::StoreArgs;
use crate::exit::Failure;
use crate::output;

impl StoreArgs {
    /// Returns the given URL, or the user's default.
    pub(crate) fn url(&self) -> String {
        self.store.clone().unwrap_or_else(|| format!("shm:lockctl-{}", Uid::current()))
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
                if self.store.is_some() {
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
        let url = StoreArgs { store: None }.url();
        assert_eq!(url, format!("shm:lockctl-{}", Uid::current()));
        assert!(url.parse::<lock_any::StoreUrl>().is_ok());
    }
}
