use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::{Arc, MutexGuard};
use std::thread::panicking;
use std::time::Duration;

use crate::event::event;
use crate::lock::Handle;
use crate::raw::{Condition, OwnerKind, Proof};
use crate::{Death, Error, ErrorKind, Lock, Operation, RawLock, Result, Token, fork};

/// A held lock. Dropping the guard releases the lock.
///
/// A guard belongs to the thread that acquired the lock: it is not `Send`; a [`SendGuard`](crate::SendGuard) is. It also belongs to the
/// process: in a forked child an inherited guard holds nothing, and dropping it has no effect. A guard from [`Lock::lock`] borrows its
/// lock. A guard from [`Lock::lock_owned`] contains a handle and is `Guard<'static>`.
///
/// A guard that is dropped while its thread panics releases the lock. The next owner then gets a report with the cause
/// [`Cause::Panicked`](crate::Cause::Panicked), if the backend claims
/// [`DeathReports::UntilConsistent`](crate::DeathReports::UntilConsistent).
///
/// ```compile_fail,E0277
/// fn may_be_sent<T: Send>() {}
/// may_be_sent::<lock_core::Guard<'static>>();
/// ```
#[must_use = "if unused, the lock is released immediately"]
pub struct Guard<'a> {
    /// `None` when the guard contains the handle.
    lock: Option<&'a Lock>,
    token: u64,
    /// The fork epoch of the owning process, or [`RELEASED`].
    epoch: u64,
    /// Dropped by the guard's `Drop` implementation, so that the guard itself has no drop glue.
    rare: ManuallyDrop<Option<Box<RareFields>>>,
    /// The handle of [`Lock::lock_owned`]. Dropped as `rare` is.
    own: ManuallyDrop<Option<Lock>>,
    // Makes the guard `Sync` and not `Send`.
    _thread: PhantomData<MutexGuard<'a, ()>>,
}

/// Fields that few guards need. They are boxed to keep other guards small.
struct RareFields {
    death: Option<Box<Death>>,
    /// The owner has called [`Guard::mark_consistent`].
    is_consistent: bool,
    /// The thread was panicking when it acquired the lock. A panic at the release is then not reported.
    during_panic: bool,
}

/// The epoch of a guard that has released its lock.
pub(crate) const RELEASED: u64 = u64::MAX;

impl<'a> Guard<'a> {
    #[inline]
    pub(crate) fn borrowed(lock: &'a Lock, token: u64, death: Option<Box<Death>>) -> Self {
        Self::new(Some(lock), None, token, death)
    }

    #[inline]
    fn new(lock: Option<&'a Lock>, own: Option<Lock>, token: u64, death: Option<Box<Death>>) -> Self {
        let rare = if death.is_none() && !panicking() { None } else { RareFields::new(death) };
        let (rare, own) = (ManuallyDrop::new(rare), ManuallyDrop::new(own));
        Self { lock, token, epoch: fork::epoch(), rare, own, _thread: PhantomData }
    }

    /// Returns the held lock.
    #[inline]
    pub fn lock(&self) -> &Lock {
        match self.lock {
            Some(lock) => lock,
            None => self.own_lock(),
        }
    }

    #[cold]
    fn own_lock(&self) -> &Lock {
        self.own.as_ref().expect("a guard without a borrowed handle contains one")
    }

    /// Returns the report of a death, if an earlier owner died or panicked while it held the lock.
    ///
    /// The protected data may be inconsistent. The report is repeated until an owner calls [`Guard::mark_consistent`].
    pub fn recovered(&self) -> Option<&Death> {
        self.rare.as_ref()?.death.as_deref()
    }

    /// Declares that the protected data is consistent, so that the next owner gets no report of the death.
    ///
    /// Without this call each next owner in any process gets the report, if the backend claims
    /// [`DeathReports::UntilConsistent`](crate::DeathReports::UntilConsistent). Compare `pthread_mutex_consistent(3)`. The call has no
    /// effect on a guard without a report.
    ///
    /// # Examples
    /// ```
    /// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
    /// # let store = memory::store()?;
    /// let lock = store.allocate("an example")?;
    /// # std::thread::scope(|scope| {
    /// #     let owner = || {
    /// #         let _guard = lock.lock();
    /// #         panic!("an example");
    /// #     };
    /// #     scope.spawn(owner).join().unwrap_err();
    /// # });
    /// // Meanwhile an owner has died or panicked.
    /// let mut guard = lock.lock()?;
    /// if let Some(death) = guard.recovered() {
    ///     eprintln!("{death}: repairing the protected data");
    ///     // If this process dies here, the next owner gets a report of this death.
    ///     guard.mark_consistent()?;
    /// }
    /// drop(guard);
    /// assert!(lock.lock()?.recovered().is_none());
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] in a forked child; [`ErrorKind::Lost`] when the thread no longer holds the lock.
    pub fn mark_consistent(&mut self) -> Result<()> {
        as_owner(self.lock(), self.epoch, Operation::Lock, |raw| match self.recovered() {
            Some(_) => raw.mark_consistent(OwnerKind::Thread, None),
            None => Ok(()),
        })?;
        if let Some(rare) = self.rare.as_mut() {
            rare.is_consistent = true;
        }
        Ok(())
    }

    /// Checks that the thread still holds the lock.
    ///
    /// A lock is lost when it is released on behalf of its owner ([`Store::break_lock`](crate::Store::break_lock)), or when other
    /// programs change its files. Then another owner may already use the protected data. The result applies to the time of the check
    /// only. A resource that compares [tokens](Guard::token) is protected at any time.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the thread no longer holds the lock; [`ErrorKind::NotHeld`] in a forked child that inherited the guard;
    /// [`ErrorKind::Unsupported`] when the backend does not claim [`GuardChecks::Supported`](crate::GuardChecks::Supported);
    /// [`ErrorKind::System`] or [`ErrorKind::Limit`] when a system call fails.
    pub fn check(&self) -> Result<()> {
        as_owner(self.lock(), self.epoch, Operation::Check, |raw| raw.check(OwnerKind::Thread, None))
    }

    /// Returns how long the thread surely holds the lock from now on, or `None` if no time limits it.
    ///
    /// A lock of a server lasts as long as the session of the process with that server. A thread in the background renews the session.
    /// If that fails, for example because the network is down, the result shrinks to zero, and then this is an error. Only after that can
    /// another owner acquire the lock. The time is that of this machine's clock since boot, including suspension. The call asks no server.
    ///
    /// The process can be stopped between this call and the use of the protected data. A resource that compares [tokens](Guard::token)
    /// is protected nevertheless.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the thread no longer surely holds the lock; [`ErrorKind::NotHeld`] in a forked child that inherited the
    /// guard.
    pub fn valid_for(&self) -> Result<Option<Duration>> {
        as_owner(self.lock(), self.epoch, Operation::Check, |raw| raw.valid_for(OwnerKind::Thread, None))
    }

    /// Registers a function that is called once when the lock is lost while the guard exists.
    ///
    /// Another thread calls it, before another owner can acquire the lock. It should stop the use of the protected data, and return soon.
    /// The function is dropped when the guard is. Several functions can be registered.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the lock is already lost, and the function is then not called; [`ErrorKind::NotHeld`] in a forked child
    /// that inherited the guard; [`ErrorKind::Unsupported`] when the backend claims [`Exclusion::Always`](crate::Exclusion::Always):
    /// its locks do not depend on a session.
    pub fn on_lost(&self, call: impl FnOnce() + Send + 'static) -> Result<()> {
        as_owner(self.lock(), self.epoch, Operation::Check, |raw| raw.on_lost(OwnerKind::Thread, None, Box::new(call)))
    }

    /// Returns the fencing token, or `None` on a backend without tokens.
    ///
    /// The token is greater than that of every earlier acquisition of this lock, in any process. A protected resource that remembers the
    /// greatest token can refuse requests of earlier owners.
    pub fn token(&self) -> Option<Token> {
        self.lock().token(self.token)
    }

    /// Releases the lock and returns errors, which dropping the guard only logs.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the thread no longer holds the lock; [`ErrorKind::NotHeld`] in a forked child that inherited the guard;
    /// [`ErrorKind::System`] when a system call fails.
    pub fn unlock(mut self) -> Result<()> {
        let epoch = std::mem::replace(&mut self.epoch, RELEASED);
        let proof = Proof::of_thread(condition(self.rare.as_deref()));
        as_owner(self.lock(), epoch, Operation::Unlock, |raw| raw.release(proof))
    }
}

/// Calls `act` for a guard from this epoch, unless a forked child has inherited the guard.
#[inline]
pub(crate) fn as_owner<T>(
    lock: &Lock,
    epoch: u64,
    operation: Operation,
    act: impl FnOnce(&dyn RawLock) -> Result<T>,
) -> Result<T> {
    let done = if epoch == fork::epoch() { act(lock.raw()) } else { inherited_guard() };
    done.map_err(|error| lock.in_context(error, operation))
}

/// The result of an operation of a forked child on a guard that it inherited.
#[cold]
fn inherited_guard<T>() -> Result<T> {
    // Starts the epoch of the child, which closes inherited descriptors.
    fork::current();
    Err(Error::not_held())
}

/// Returns the condition of the protected data at the release of a guard.
fn condition(rare: Option<&RareFields>) -> Condition {
    if panicking() && !rare.is_some_and(|rare| rare.during_panic) {
        return Condition::Panicked;
    }
    match rare {
        Some(RareFields { death: Some(_), is_consistent: false, .. }) => Condition::Inconsistent,
        _ => Condition::Consistent,
    }
}

/// Logs a failed release.
// Not a method: passing `&self` would force the guard into memory.
#[cold]
#[inline(never)]
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "they are for the event"))]
pub(crate) fn log_release_error(lock: &Lock, error: Error) {
    if !matches!(error.kind(), ErrorKind::NotHeld) {
        let error = lock.in_context(error, Operation::Unlock);
        event!(error, RELEASE_FAILED, store = lock.store_url(), id = lock.id().get(), %error, "a lock could not be released");
    }
}

impl Guard<'static> {
    #[inline]
    pub(crate) fn owned(lock: Lock, token: u64, death: Option<Box<Death>>) -> Self {
        Self::new(None, Some(lock), token, death)
    }
}

impl RareFields {
    #[cold]
    fn new(death: Option<Box<Death>>) -> Option<Box<Self>> {
        Some(Box::new(Self { death, is_consistent: false, during_panic: panicking() }))
    }
}

// Kept minimal and without drop glue, so that it inlines and the guard can stay in registers.
impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        let is_usual = self.epoch == fork::epoch() && self.rare.is_none() && !panicking();
        // Only words are passed on, because a handle in memory would be copied there in pieces other than those it was written in.
        let own = self.own.take().map(Lock::into_handle);
        match (self.lock, own) {
            (Some(lock), None) if is_usual => {
                if let Err(error) = lock.raw().release(Proof::of_thread(Condition::Consistent)) {
                    log_release_error(lock, error);
                }
            }
            (None, Some(own)) if is_usual => drop_own(own),
            (lock, own) => drop_slow(lock, own, self.epoch, self.rare.take()),
        }
    }
}

/// Releases the lock of a guard that contains its handle, and drops the handle.
#[inline(never)]
fn drop_own(own: Arc<Handle>) {
    if let Err(error) = own.raw().release(Proof::of_thread(Condition::Consistent)) {
        log_release_error(&Lock::of_handle(own), error);
    }
}

/// Drops a guard that has rare fields, or that no longer holds the lock.
#[cold]
#[inline(never)]
fn drop_slow(lock: Option<&Lock>, own: Option<Arc<Handle>>, epoch: u64, rare: Option<Box<RareFields>>) {
    let own = own.map(Lock::of_handle);
    let lock = lock.or(own.as_ref());
    if epoch != fork::epoch() {
        // `unlock` has released the lock, or a forked child has inherited the guard.
        fork::current();
    } else if let Some(lock) = lock
        && let Err(error) = lock.raw().release(Proof::of_thread(condition(rare.as_deref())))
    {
        log_release_error(lock, error);
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("lock", self.lock())
            .field("token", &self.token())
            .field("recovered", &self.recovered())
            .finish_non_exhaustive()
    }
}
