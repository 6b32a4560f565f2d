use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;

use crate::raw::Proof;
use crate::sys::Parked;
use crate::{Death, Error, ErrorKind, Lock, Operation, Result, fork};

/// A held lock; dropping it releases the lock.
///
/// It stays with the thread that took it (it is not `Send`), and with the process: a forked child that inherits one owns nothing,
/// and dropping it there does nothing. A guard from [`Lock::lock`] borrows its lock; one from [`Lock::lock_owned`] keeps a
/// handle of its own and is `Guard<'static>`.
///
/// ```compile_fail,E0277
/// fn may_be_sent<T: Send>() {}
/// may_be_sent::<lock_core::Guard<'static>>();
/// ```
#[must_use = "a guard that is dropped at once releases the lock at once"]
pub struct Guard<'a> {
    /// `None` where the guard has a handle of its own.
    lock: Option<&'a Lock>,
    token: u64,
    /// The process that it belongs to; [`RELEASED`] when there is nothing left to release.
    epoch: u64,
    /// Taken and dropped by the drop.
    rest: Parked<Rest>,
    // `!Send`, and still `Sync`, without unsafe code.
    _thread: PhantomData<MutexGuard<'a, ()>>,
}

/// What most guards do not have.
struct Rest {
    death: Option<Box<Death>>,
    lock: Option<Lock>,
}

const RELEASED: u64 = u64::MAX;

impl<'a> Guard<'a> {
    #[inline]
    pub(crate) fn borrowed(lock: &'a Lock, token: u64, death: Option<Box<Death>>) -> Self {
        let rest = if death.is_none() { Parked::nothing() } else { Rest { death, lock: None }.parked() };
        Self::new(Some(lock), token, rest)
    }

    #[inline]
    fn new(lock: Option<&'a Lock>, token: u64, rest: Parked<Rest>) -> Self {
        Self { lock, token, epoch: fork::epoch(), rest, _thread: PhantomData }
    }

    /// The lock that is held.
    #[inline]
    pub fn lock(&self) -> &Lock {
        match self.lock {
            Some(lock) => lock,
            None => self.own_lock(),
        }
    }

    #[cold]
    fn own_lock(&self) -> &Lock {
        let rest = self.rest.get();
        rest.and_then(|rest| rest.lock.as_ref()).expect("a guard that borrows no handle has one of its own")
    }

    /// Set when the previous owner died holding the lock: what it protects may be half changed.
    pub fn recovered(&self) -> Option<&Death> {
        self.rest.get()?.death.as_deref()
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
        let ours = std::mem::replace(&mut self.epoch, RELEASED) == fork::epoch();
        let released = if ours { self.lock().raw().release(Proof::new()) } else { Err(ErrorKind::NotHeld.into()) };
        released.map_err(|error| self.lock().in_context(error, Operation::Unlock))
    }
}

// Not a method, so that a guard whose address nobody takes can stay in registers.
#[cold]
#[inline(never)]
fn not_released(lock: &Lock, error: Error) {
    if !matches!(error.kind(), ErrorKind::NotHeld) {
        let error = lock.in_context(error, Operation::Unlock);
        tracing::error!(%error, "a lock could not be released");
    }
}

impl Guard<'static> {
    pub(crate) fn owned(lock: Lock, token: u64, death: Option<Box<Death>>) -> Self {
        Self::new(None, token, Rest { death, lock: Some(lock) }.parked())
    }
}

impl Rest {
    #[cold]
    fn parked(self) -> Parked<Self> {
        Parked::new(Box::new(self))
    }
}

// As little code as can be, and nothing to be dropped after it: so it is inlined, and the guard need not be in memory.
impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.lock {
            Some(lock) if self.epoch == fork::epoch() && self.rest.is_nothing() => {
                if let Err(error) = lock.raw().release(Proof::new()) {
                    not_released(lock, error);
                }
            }
            _ => drop_slowly(self.lock, self.epoch, std::mem::replace(&mut self.rest, Parked::nothing())),
        }
    }
}

#[cold]
#[inline(never)]
fn drop_slowly(lock: Option<&Lock>, epoch: u64, rest: Parked<Rest>) {
    let rest = rest.unpark();
    let lock = lock.or_else(|| rest.as_ref()?.lock.as_ref());
    // In a forked child it is not ours, and after `unlock` it is nobody's.
    if epoch == fork::epoch()
        && let Some(lock) = lock
        && let Err(error) = lock.raw().release(Proof::new())
    {
        not_released(lock, error);
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("lock", self.lock())
            .field("token", &self.token)
            .field("recovered", &self.recovered())
            .finish_non_exhaustive()
    }
}
