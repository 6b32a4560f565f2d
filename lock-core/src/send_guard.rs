use std::fmt;
use std::thread::{self, ThreadId, panicking};
use std::time::Duration;

use crate::guard::{RELEASED, as_owner, log_release_error};
use crate::raw::{Condition, OwnerKind, Proof};
use crate::{Death, Lock, Operation, Result, Token, fork};

/// A lock that the process holds. Dropping the guard, on any thread, releases the lock.
///
/// Unlike a [`Guard`](crate::Guard), this guard is `Send` and `Sync`: it may move to another thread, and an async task may hold it over
/// an `.await`. [`Lock::lock_send`] and its variants return it. A guard from [`Lock::lock_send_owned`] has no lifetime.
///
/// # Owner
/// - The owner is the process, not the thread that acquired the lock. That thread may end: the lock stays held. The death of the process
///   has the same effect as the death of the owner of a `Guard`.
/// - Two guards of one process exclude each other. A thread that waits for a lock which its own process holds is therefore not refused.
///   It waits until another thread or task releases the lock, and without end if no other one can.
/// - In a forked child an inherited guard holds nothing, and dropping it has no effect.
/// - A guard that is leaked ([`std::mem::forget`]) keeps the lock held until the process ends.
///
/// # Panics of the owner
/// A guard that is dropped while a thread panics releases the lock. The next owner then gets a report with the cause
/// [`Cause::Panicked`](crate::Cause::Panicked), as with a `Guard`, also when another thread acquired the lock: the critical section did
/// not reach its end. The only exception is the thread that was panicking when it acquired the lock. An async task that is cancelled
/// drops its guard without a panic, and the next owner gets no report.
///
/// # Examples
/// ```
/// fn may_be_sent_and_shared<T: Send + Sync + 'static>() {}
/// may_be_sent_and_shared::<lock_core::SendGuard<'static>>();
/// ```
#[must_use = "if unused, the lock is released immediately"]
pub struct SendGuard<'a> {
    handle: Handle<'a>,
    token: u64,
    /// The fork epoch of the owning process, or [`RELEASED`].
    epoch: u64,
    death: Option<Box<Death>>,
    /// The owner has called [`SendGuard::mark_consistent`].
    is_consistent: bool,
    /// The thread that acquired the lock, if it was panicking. A panic of that thread at the release is then not reported.
    panicking: Option<ThreadId>,
}

enum Handle<'a> {
    Borrowed(&'a Lock),
    Owned(Lock),
}

impl<'a> SendGuard<'a> {
    #[inline]
    pub(crate) fn borrowed(lock: &'a Lock, token: u64, death: Option<Box<Death>>) -> Self {
        Self::new(Handle::Borrowed(lock), token, death)
    }

    #[inline]
    fn new(handle: Handle<'a>, token: u64, death: Option<Box<Death>>) -> Self {
        let panicking = panicking().then(|| thread::current().id());
        Self { handle, token, epoch: fork::epoch(), death, is_consistent: false, panicking }
    }

    /// Returns the held lock.
    #[inline]
    pub fn lock(&self) -> &Lock {
        match &self.handle {
            Handle::Borrowed(lock) => lock,
            Handle::Owned(lock) => lock,
        }
    }

    /// Returns the report of a death, as [`Guard::recovered`](crate::Guard::recovered) does.
    pub fn recovered(&self) -> Option<&Death> {
        self.death.as_deref()
    }

    /// Declares that the protected data is consistent, as [`Guard::mark_consistent`](crate::Guard::mark_consistent) does.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`](crate::ErrorKind::NotHeld) in a forked child; [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the
    /// process no longer holds the lock.
    pub fn mark_consistent(&mut self) -> Result<()> {
        as_owner(self.lock(), self.epoch, Operation::Lock, |raw| match self.death {
            Some(_) => raw.mark_consistent(OwnerKind::Process, Some(self.token)),
            None => Ok(()),
        })?;
        self.is_consistent = true;
        Ok(())
    }

    /// Checks that the process still holds the lock, as [`Guard::check`](crate::Guard::check) does for a thread.
    ///
    /// # Errors
    /// As [`Guard::check`](crate::Guard::check).
    pub fn check(&self) -> Result<()> {
        as_owner(self.lock(), self.epoch, Operation::Check, |raw| raw.check(OwnerKind::Process, Some(self.token)))
    }

    /// Returns how long the process surely holds the lock from now on, as [`Guard::valid_for`](crate::Guard::valid_for) does for a thread.
    ///
    /// # Errors
    /// As [`Guard::valid_for`](crate::Guard::valid_for).
    pub fn valid_for(&self) -> Result<Option<Duration>> {
        as_owner(self.lock(), self.epoch, Operation::Check, |raw| raw.valid_for(OwnerKind::Process, Some(self.token)))
    }

    /// Registers a function that is called once when the lock is lost, as [`Guard::on_lost`](crate::Guard::on_lost) does.
    ///
    /// # Errors
    /// As [`Guard::on_lost`](crate::Guard::on_lost).
    pub fn on_lost(&self, call: impl FnOnce() + Send + 'static) -> Result<()> {
        let (token, call) = (Some(self.token), Box::new(call));
        as_owner(self.lock(), self.epoch, Operation::Check, |raw| raw.on_lost(OwnerKind::Process, token, call))
    }

    /// Returns the fencing token, as [`Guard::token`](crate::Guard::token) does.
    pub fn token(&self) -> Option<Token> {
        self.lock().token(self.token)
    }

    /// Releases the lock and returns errors, which dropping the guard only logs.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the process no longer holds the lock;
    /// [`ErrorKind::NotHeld`](crate::ErrorKind::NotHeld) in a forked child that inherited the guard;
    /// [`ErrorKind::System`](crate::ErrorKind::System) when a system call fails.
    pub fn unlock(mut self) -> Result<()> {
        let epoch = std::mem::replace(&mut self.epoch, RELEASED);
        as_owner(self.lock(), epoch, Operation::Unlock, |raw| raw.release(self.proof()))
    }

    #[inline]
    fn proof(&self) -> Proof {
        Proof::of_process(self.condition(), self.token)
    }

    /// Returns the condition of the protected data at the release.
    #[inline]
    fn condition(&self) -> Condition {
        if panicking() && self.panicking != Some(thread::current().id()) {
            return Condition::Panicked;
        }
        match self.death {
            Some(_) if !self.is_consistent => Condition::Inconsistent,
            _ => Condition::Consistent,
        }
    }
}

impl SendGuard<'static> {
    pub(crate) fn owned(lock: Lock, token: u64, death: Option<Box<Death>>) -> Self {
        Self::new(Handle::Owned(lock), token, death)
    }
}

impl Drop for SendGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.epoch != fork::epoch() {
            // `unlock` has released the lock, or a forked child has inherited the guard.
            fork::current();
        } else if let Err(error) = self.lock().raw().release(self.proof()) {
            log_release_error(self.lock(), error);
        }
    }
}

impl fmt::Debug for SendGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendGuard")
            .field("lock", self.lock())
            .field("token", &self.token())
            .field("recovered", &self.recovered())
            .finish_non_exhaustive()
    }
}
