use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lock_core::{Death, Error, Result};

use crate::Engine;
use crate::key::Key;
use crate::live::Live;
use crate::losses::Call;

/// The locks that this process holds.
#[derive(Debug)]
pub(crate) struct Held<E: Engine>(Mutex<HashMap<Key, Holding<E>>>);

/// A held lock.
#[derive(Debug)]
pub(crate) struct Holding<E: Engine> {
    pub(crate) live: Arc<Live<E>>,
    pub(crate) grant: E::Grant,
    /// The report that the owner got, until it marks the data consistent.
    pub(crate) death: Option<Death>,
    /// The server said that the lock is lost, although the session lasts.
    is_lost: bool,
}

impl<E: Engine> Held<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(crate) fn insert(&self, key: Key, live: &Arc<Live<E>>, grant: E::Grant, death: Option<Death>) {
        self.map().insert(key, Holding { live: Arc::clone(live), grant, death, is_lost: false });
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.map().contains_key(&key)
    }

    /// Returns true if there is no lock, not even one that was lost.
    pub(crate) fn is_empty(&self) -> bool {
        self.map().is_empty()
    }

    /// Removes a lock, also one that was lost.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when it was lost.
    pub(crate) fn remove(&self, key: Key) -> Result<Holding<E>> {
        let holding = self.map().remove(&key).ok_or_else(Error::lost)?;
        drop(holding.live.losses().remove(key));
        if holding.is_lost { Err(Error::lost()) } else { holding.live.remaining().map(|_| holding) }
    }

    /// Returns the session and the grant of a lock.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when it was lost.
    pub(crate) fn get(&self, key: Key) -> Result<(Arc<Live<E>>, E::Grant)> {
        let map = self.map();
        let holding = map.get(&key).filter(|holding| !holding.is_lost).ok_or_else(Error::lost)?;
        let (live, grant) = (Arc::clone(&holding.live), holding.grant.clone());
        drop(map);
        live.remaining()?;
        Ok((live, grant))
    }

    /// Forgets the report that the owner got.
    pub(crate) fn mark_consistent(&self, key: Key) {
        if let Some(holding) = self.map().get_mut(&key) {
            holding.death = None;
        }
    }

    /// Registers a function to be called if the lock is lost.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when it is already lost.
    pub(crate) fn on_lost(&self, key: Key, call: Call) -> Result<()> {
        let map = self.map();
        let holding = map.get(&key).filter(|holding| !holding.is_lost).ok_or_else(Error::lost)?;
        holding.live.losses().register(key, call)
    }

    /// Notes that a lock is lost if the server says so in this result.
    pub(crate) fn notice(&self, key: Key, result: Result<()>) -> Result<()> {
        result.inspect_err(|error| {
            if !error.is_lost() {
                return;
            }
            let live = self.map().get_mut(&key).map(|holding| {
                holding.is_lost = true;
                Arc::clone(&holding.live)
            });
            if let Some(live) = live {
                live.losses().lose(key);
            }
        })
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, Holding<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
