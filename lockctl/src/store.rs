//! Which store a command works on, and whether it may create it.

use lock_any::{ErrorKind, Store};
use nix::unistd::Uid;

use crate::cli::Place;
use crate::exit::Failure;
use crate::output;

impl Place {
    /// The URL: what was given, or the user's default.
    pub(crate) fn url(&self) -> String {
        self.store.clone().unwrap_or_else(|| format!("shm:lockctl-{}", Uid::current()))
    }

    /// Opens the store, which must exist.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        Ok(lock_any::open(&self.url())?)
    }

    /// Opens the store and, unless that is not wanted, creates it where it is absent, as flock(1) does with its file. If somebody
    /// named it, that is said, because a store that is new by a slip of the pen excludes nobody.
    pub(crate) fn open_or_create(&self, no_create: bool) -> Result<Store, Failure> {
        let url = self.url();
        match lock_any::open(&url) {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) && !no_create => {
                let store = lock_any::open_or_create(&url)?;
                if self.store.is_some() {
                    output::say(format_args!("there was no store {url}; it is created"));
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
    fn who_names_no_store_gets_one_of_their_own() {
        let url = Place { store: None }.url();
        assert_eq!(url, format!("shm:lockctl-{}", Uid::current()));
        assert!(url.parse::<lock_any::StoreUrl>().is_ok());
    }
}
