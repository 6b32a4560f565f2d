use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;

use crate::raw::{Acquired, Proof};
use crate::{Death, ErrorKind, Lock, Operation, Result, fork};

/// A held lock; dropping it releases the lock.
///
/// It stays with the thread that took it (it is not `Send`), and with the process: a forked child that inherits one owns nothing,
/// and dropping it there does nothing. A guard from [`Lock::lock`] borrows its lock; one from [`Lock::lock_owned`] keeps a
/// handle of its own and is `Guard<'static>`.
#[must_use = "a guard that is dropped at once releases the lock at once"]
pub struct Guard<'a> {
    lock: LockRef<'a>,
    token: u64,
    death: Option<Box<Death>>,
    epoch: u64,
    released: bool,
    // `!Send`, and still `Sync`, without unsafe code.
    _thread: PhantomData<MutexGuard<'a, ()>>,
}

enum LockRef<'a> {
    Borrowed(&'a Lock),
    Owned(Lock),
}

impl<'a> Guard<'a> {
    pub(crate) fn borrowed(lock: &'a Lock, acquired: Acquired) -> Self {
        Self::new(LockRef::Borrowed(lock), acquired)
    }

    fn new(lock: LockRef<'a>, acquired: Acquired) -> Self {
        Self { lock, token: acquired.token, death: acquired.death, epoch: fork::epoch(), released: false, _thread: PhantomData }
    }

    /// The lock that is held.
    pub fn lock(&self) -> &Lock {
        match &self.lock {
            LockRef::Borrowed(lock) => lock,
            LockRef::Owned(lock) => lock,
        }
    }

    /// Set when the previous owner died holding the lock: what it protects may be half changed.
    pub fn recovered(&self) -> Option<&Death> {
        self.death.as_deref()
    }

    /// The fencing token: greater than that of every earlier acquisition of this lock in this store, in any process.
    /// 0 where the backend has none. Hand it to what the lock protects, so that a request that comes late can be told.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Releases the lock, for those who want to know how that went.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] when the lock is not held any more, or the guard was inherited by a fork; what the system says.
    pub fn unlock(mut self) -> Result<()> {
        self.release().map_err(|error| self.lock().in_context(error, Operation::Unlock))
    }

    fn release(&mut self) -> Result<()> {
        self.released = true;
        if self.epoch != fork::epoch() {
            return Err(ErrorKind::NotHeld.into());
        }
        self.lock().raw().release(Proof::new())
    }
}

impl Guard<'static> {
    pub(crate) fn owned(lock: Lock, acquired: Acquired) -> Self {
        Self::new(LockRef::Owned(lock), acquired)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        match self.release() {
            Err(error) if !matches!(error.kind(), ErrorKind::NotHeld) => {
                let error = self.lock().in_context(error, Operation::Unlock);
                tracing::error!(%error, "a lock could not be released");
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("lock", self.lock())
            .field("token", &self.token)
            .field("recovered", &self.death)
            .finish_non_exhaustive()
    }
}
