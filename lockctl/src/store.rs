//! Opens the store of a command.

use lock_any::Store;

use crate::cli::StoreArgs;
use crate::default_store::DefaultStore;
use crate::exit::{ExitStatus, Failure};
use crate::output;

impl StoreArgs {
    /// Returns the given URL, or that of the user's default store.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        match self.given() {
            Some(url) => Ok(url.to_owned()),
            None => DefaultStore::find()?.url(),
        }
    }

    /// Returns the URL for a creation, and creates the directory of the default store.
    pub(crate) fn url_to_create(&self) -> Result<String, Failure> {
        match self.given() {
            Some(url) => Ok(url.to_owned()),
            None => {
                let store = DefaultStore::find()?;
                store.create_directory()?;
                store.url()
            }
        }
    }

    /// Returns the given URL. An empty variable counts as unset.
    pub(crate) fn given(&self) -> Option<&str> {
        let is_unset = std::env::var_os("LOCKCTL_STORE").is_some_and(|value| value.is_empty());
        self.stores.first().map(String::as_str).filter(|url| !(url.is_empty() && is_unset))
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
        if self.given().is_none() {
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
        Ok(lock_any::open(self.url()?)?)
    }

    /// Opens the store. Creates an absent store unless `no_create` is set, as flock(1) creates its file. A message reports the creation
    /// of a store with an explicit URL, because a mistyped URL would exclude no other process.
    pub(crate) fn open_or_create(&self, no_create: bool) -> Result<Store, Failure> {
        self.open_or_create_with(no_create, |store| {
            output::message(format_args!("the store {} was absent; it is created", store.url()));
        })
    }

    /// Opens or creates the store without a message.
    pub(crate) fn open_or_create_quietly(&self, no_create: bool) -> Result<Store, Failure> {
        self.open_or_create_with(no_create, |_| ())
    }

    fn open_or_create_with(&self, no_create: bool, report: impl Fn(&Store)) -> Result<Store, Failure> {
        match lock_any::open(self.url()?) {
            Err(error) if error.is_absent() && !no_create => {
                let store = lock_any::open_or_create(self.url_to_create()?)?;
                if self.given().is_some() {
                    report(&store);
                }
                Ok(store)
            }
            result => Ok(result?),
        }
    }
}
