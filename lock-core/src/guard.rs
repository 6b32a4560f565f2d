use std::fmt;
use std::marker::PhantomData;
use std::sync::MutexGuard;
use std::thread::panicking;

use crate::raw::{Condition, Proof};
use crate::sys::Parked;
use crate::{Death, Error, ErrorKind, Lock, Operation, Result, fork};

/// A held lock; dropping it releases the lock.
///
/// It stays with the thread that took it (it is not `Send`), and with the process: a forked child that inherits one owns nothing,
/// and dropping it there does nothing. A guard from [`Lock::lock`] borrows its lock; one from [`Lock::lock_owned`] keeps a
/// handle of its own and is `Guard<'static>`.
///
/// A guard that is dropped while its thread panics releases the lock, and the next owner is told so
/// ([`Cause::Panicked`](crate::Cause::Panicked)) where the backend keeps such reports.
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
    /// The owner has dealt with the death.
    is_consistent: bool,
    /// The lock was acquired while the thread panicked, which is no news at its release.
    during_panic: bool,
    lock: Option<Lock>,
}

const RELEASED: u64 = u64::MAX;

impl<'a> Guard<'a> {
    #[inline]
    pub(crate) fn borrowed(lock: &'a Lock, token: u64, death: Option<Box<Death>>) -> Self {
        let rest = if death.is_none() && !panicking() { Parked::nothing() } else { Rest::new(death, None).parked() };
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

    /// Set when an earlier owner died (or panicked) holding the lock, and no owner has called [`Guard::mark_consistent`] since: what
    /// the lock protects may be half changed.
    pub fn recovered(&self) -> Option<&Death> {
        self.rest.get()?.death.as_deref()
    }

    /// Declares that what the lock protects is in order again, after [`Guard::recovered`]: the next owner is told of no death.
    ///
    /// Without this call each next owner is told, in this and all other processes, where the backend claims
    /// [`DeathReports::UntilConsistent`](crate::DeathReports::UntilConsistent). (POSIX has `pthread_mutex_consistent`.)
    ///
    /// # Examples
    /// With the backend `shm`:
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let url = format!("shm:{}/store", directory.path().display());
    /// # let registry = lock_core::Registry::default().merge([lock_shm::BACKEND])?;
    /// # let store = lock_core::Store::open(&registry, &url, lock_core::OpenMode::Create)?;
    /// let lock = store.allocate("an example")?;
    /// # std::thread::scope(|scope| {
    /// #     let owner = || {
    /// #         let _guard = lock.lock();
    /// #         panic!("an example");
    /// #     };
    /// #     scope.spawn(owner).join().unwrap_err();
    /// # });
    /// // An owner has died or panicked meanwhile.
    /// let mut guard = lock.lock()?;
    /// if let Some(death) = guard.recovered() {
    ///     eprintln!("{death}: repairing what it left");
    ///     // If this process died here, the next owner would get a report of its death.
    ///     guard.mark_consistent()?;
    /// }
    /// drop(guard);
    /// assert!(lock.lock()?.recovered().is_none());
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] in a forked child; [`ErrorKind::Lost`] when the lock is not held any more.
    pub fn mark_consistent(&mut self) -> Result<()> {
        if self.epoch != fork::epoch() {
            return Err(self.lock().in_context(ErrorKind::NotHeld.into(), Operation::Lock));
        }
        if self.recovered().is_none() {
            return Ok(());
        }
        self.lock().raw().mark_consistent().map_err(|error| self.lock().in_context(error, Operation::Lock))?;
        if let Some(rest) = self.rest.get_mut() {
            rest.is_consistent = true;
        }
        Ok(())
    }

    /// The fencing token: greater than that of every earlier acquisition of this lock in this store, in any process.
    /// 0 where the backend has none. Hand it to what the lock protects, so that a request that comes late can be told.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Releases the lock, for those who want to know how that went.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the lock is not held any more, [`ErrorKind::NotHeld`] when the guard was inherited by a fork; what
    /// the system says.
    pub fn unlock(mut self) -> Result<()> {
        let ours = std::mem::replace(&mut self.epoch, RELEASED) == fork::epoch();
        let proof = Proof::new(condition(self.rest.get()));
        let released = if ours { self.lock().raw().release(proof) } else { not_of_this_process() };
        released.map_err(|error| self.lock().in_context(error, Operation::Unlock))
    }
}

/// In a forked child, which then gives up what it inherited.
#[cold]
fn not_of_this_process() -> Result<()> {
    fork::current();
    Err(ErrorKind::NotHeld.into())
}

/// The condition in which a guard leaves what its lock protects.
fn condition(rest: Option<&Rest>) -> Condition {
    if panicking() && !rest.is_some_and(|rest| rest.during_panic) {
        return Condition::Panicked;
    }
    match rest {
        Some(Rest { death: Some(_), is_consistent: false, .. }) => Condition::Inconsistent,
        _ => Condition::Consistent,
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
        Self::new(None, token, Rest::new(death, Some(lock)).parked())
    }
}

impl Rest {
    #[cold]
    fn new(death: Option<Box<Death>>, lock: Option<Lock>) -> Self {
        Self { death, is_consistent: false, during_panic: panicking(), lock }
    }

    #[cold]
    fn parked(self) -> Parked<Self> {
        Parked::new(Box::new(self))
    }
}

// Kept minimal, and with nothing to be dropped after it, so that it inlines and the guard can stay in registers.
impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.lock {
            Some(lock) if self.epoch == fork::epoch() && self.rest.is_nothing() && !panicking() => {
                if let Err(error) = lock.raw().release(Proof::new(Condition::Consistent)) {
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
    if epoch != fork::epoch() {
        // It was inherited by a fork, or `unlock` was called.
        fork::current();
    } else if let Some(lock) = lock
        && let Err(error) = lock.raw().release(Proof::new(condition(rest.as_deref())))
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
