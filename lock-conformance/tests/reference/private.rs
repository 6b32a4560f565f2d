//! An honest lock without a store, for the threads of one process.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use lock_core::{Acquired, Capabilities, Deadline, Deadlines, Error, Lock, Proof, RawLock, Result, StoreId, Waiters};

/// The capabilities of the lock.
pub(crate) const CLAIMS: Capabilities =
    Capabilities::minimal().with_deadlines(Deadlines::Monotonic).with_waiters(Waiters::Counted);

/// Creates a lock.
pub(crate) fn lock() -> Lock {
    Lock::standalone(Arc::new(Private::default()), "private", StoreId::new(1))
}

#[derive(Debug, Default)]
struct Private {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    waiters: u32,
}

impl RawLock for Private {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiters += 1;
        while state.held && !deadline.has_passed() {
            state = match deadline.remaining() {
                Some(left) => self.released.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.released.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.waiters -= 1;
        if state.held {
            return Ok(Acquired::TimedOut);
        }
        state.held = true;
        Ok(Acquired::Held { token: 0 })
    }

    fn release(&self, _: Proof) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.held {
            return Err(Error::lost());
        }
        state.held = false;
        self.released.notify_one();
        Ok(())
    }

    fn waiters(&self) -> Option<u32> {
        Some(self.state.lock().unwrap_or_else(PoisonError::into_inner).waiters)
    }
}
