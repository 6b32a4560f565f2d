use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use lock_core::{Death, Error, LockId, OwnerKind, Result};

use crate::Engine;
use crate::live::Live;

/// The locks that this process holds.
#[derive(Debug)]
pub(crate) struct Held<E: Engine>(Mutex<HashMap<Key, Holding<E>>>);

/// A lock and its owner in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    id: LockId,
    owner: Owner,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Owner {
    Thread(ThreadId),
    /// The process, with the token of the acquisition: a guard whose lock was lost may exist beside a newer one.
    Process(u64),
}

impl Key {
    pub(crate) fn of_this_thread(id: LockId) -> Self {
        Self { id, owner: Owner::Thread(thread::current().id()) }
    }

    fn of_process(id: LockId, token: u64) -> Self {
        Self { id, owner: Owner::Process(token) }
    }

    /// Returns the key of an acquisition.
    pub(crate) fn of(id: LockId, owner: OwnerKind, token: u64) -> Self {
        if owner == OwnerKind::Process { Self::of_process(id, token) } else { Self::of_this_thread(id) }
    }

    /// Returns the key of a guard, which gives its token only if the process is the owner.
    pub(crate) fn of_guard(id: LockId, token: Option<u64>) -> Self {
        token.map_or_else(|| Self::of_this_thread(id), |token| Self::of_process(id, token))
    }
}

/// A held lock.
pub(crate) struct Holding<E: Engine> {
    pub(crate) live: Arc<Live<E>>,
    pub(crate) grant: E::Grant,
    /// The report that the owner got, until it marks the data consistent.
    pub(crate) death: Option<Death>,
    /// The server said that the lock is lost, although the session lasts.
    pub(crate) is_lost: bool,
    /// To be called if the lock is lost.
    calls: Vec<Call>,
}

/// A function of [`Guard::on_lost`](lock_core::Guard::on_lost).
type Call = Box<dyn FnOnce() + Send>;

/// Calls functions. A panic of one does not keep the others from being called.
pub(crate) fn run(calls: Vec<Call>) {
    for call in calls {
        let _ = catch_unwind(AssertUnwindSafe(call));
    }
}

impl<E: Engine> Holding<E> {
    pub(crate) fn new(live: Arc<Live<E>>, grant: E::Grant, death: Option<Death>) -> Self {
        Self { live, grant, death, is_lost: false, calls: Vec::new() }
    }
}

impl<E: Engine> Held<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(crate) fn insert(&self, key: Key, holding: Holding<E>) {
        self.map().insert(key, holding);
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.map().contains_key(&key)
    }

    /// Removes a held lock, also one that was lost.
    pub(crate) fn remove(&self, key: Key) -> Option<Holding<E>> {
        self.map().remove(&key)
    }

    /// Returns the session and the grant of a held lock.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when there is none, or it was lost.
    pub(crate) fn get(&self, key: Key) -> Result<(Arc<Live<E>>, E::Grant)> {
        let map = self.map();
        let holding = map.get(&key).filter(|holding| !holding.is_lost);
        holding.map(|holding| (Arc::clone(&holding.live), holding.grant.clone())).ok_or_else(Error::lost)
    }

    /// Notes that a lock is lost if the server says so in this result.
    pub(crate) fn notice(&self, key: Key, result: Result<()>) -> Result<()> {
        result.inspect_err(|error| {
            if error.is_lost() {
                let calls = self.map().get_mut(&key).map(|holding| {
                    holding.is_lost = true;
                    mem::take(&mut holding.calls)
                });
                run(calls.unwrap_or_default());
            }
        })
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
        let mut map = self.map();
        let holding = map.get_mut(&key).ok_or_else(Error::lost)?;
        // A session is given up before its functions are taken from this map.
        if holding.is_lost || holding.live.is_given_up() {
            return Err(Error::lost());
        }
        holding.calls.push(call);
        Ok(())
    }

    /// Takes the functions of all locks of this session.
    pub(crate) fn take_calls(&self, live: &Live<E>) -> Vec<Call> {
        let mut map = self.map();
        let lost = map.values_mut().filter(|holding| std::ptr::eq(&*holding.live, live));
        lost.flat_map(|holding| mem::take(&mut holding.calls)).collect()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, Holding<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> fmt::Debug for Holding<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").field("grant", &self.grant).field("death", &self.death).finish_non_exhaustive()
    }
}
