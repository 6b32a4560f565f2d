use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_core::{Error, Result};

use crate::key::Key;

/// The functions to call when locks of a session are lost.
pub(crate) struct Losses(Mutex<State>);

/// A function of [`Guard::on_lost`](lock_core::Guard::on_lost).
pub(crate) type Call = Box<dyn FnOnce() + Send>;

struct State {
    /// All locks of the session are lost.
    are_all_lost: bool,
    calls: Vec<(Key, Call)>,
}

impl Losses {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { are_all_lost: false, calls: Vec::new() }))
    }

    /// Registers a function for a lock.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when the lock is lost with its session.
    pub(crate) fn register(&self, key: Key, call: Call) -> Result<()> {
        let mut state = self.state();
        if state.are_all_lost {
            return Err(Error::lost());
        }
        state.calls.push((key, call));
        Ok(())
    }

    /// Removes and returns the functions of a lock.
    pub(crate) fn remove(&self, key: Key) -> Vec<Call> {
        let mut state = self.state();
        let (removed, kept) = state.calls.drain(..).partition(|(other, _)| *other == key);
        state.calls = kept;
        let removed: Vec<_> = removed;
        removed.into_iter().map(|(_, call)| call).collect()
    }

    /// Calls the functions of a lock that is lost although the session lasts.
    pub(crate) fn lose(&self, key: Key) {
        run(self.remove(key));
    }

    /// Calls the functions of all locks. No function is registered any more.
    pub(crate) fn lose_all(&self) {
        let mut state = self.state();
        state.are_all_lost = true;
        let calls: Vec<_> = state.calls.drain(..).map(|(_, call)| call).collect();
        drop(state);
        run(calls);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls functions. A panic of one does not keep the others from being called.
fn run(calls: Vec<Call>) {
    for call in calls {
        let _ = catch_unwind(AssertUnwindSafe(call));
    }
}

impl fmt::Debug for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Losses").finish_non_exhaustive()
    }
}
