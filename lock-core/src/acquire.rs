//! The methods of [`Lock`] that acquire it.

use std::time::{Duration, Instant};

use crate::event::event;
use crate::raw::{Acquired, FastAttempt, OwnerKind, Recovery};
use crate::{Deadline, Death, Error, Guard, HeldBy, Lock, Operation, Result, WaitOptions};

impl Lock {
    /// Acquires the lock, and blocks until it is available.
    ///
    /// The capability [`Fairness`](crate::Fairness) of the backend says in which order waiting threads acquire the lock. Except with
    /// [`Fairness::Unspecified`](crate::Fairness::Unspecified), a thread that releases the lock and acquires it again immediately overtakes a
    /// waiting thread a bounded number of times.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when this thread already holds the lock and the backend claims
    /// [`Reentry::Refused`](crate::Reentry::Refused); [`ErrorKind::System`](crate::ErrorKind::System) or
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_>> {
        self.lock_by(Deadline::Never)
    }

    /// Acquires the lock if it is free. Returns `None` when a thread holds it, which may be this one.
    ///
    /// An attempt has no place in the [order](crate::Fairness) of waiting threads. A lock that was released to a waiting thread may be busy
    /// for it, and a thread that only attempts can be overtaken for any length of time.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    #[inline]
    pub fn try_lock(&self) -> Result<Option<Guard<'_>>> {
        Ok(self.try_acquire()?.map(|(token, death)| Guard::borrowed(self, token, death)))
    }

    /// Acquires the lock, and waits for at most this duration on the monotonic clock.
    ///
    /// It never times out early. Among waiting threads, it has the same place as one that waits in [`Lock::lock`], and loses it when it times
    /// out.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) with the length of the wait and the [holder](crate::HeldBy); otherwise
    /// as [`Lock::lock`].
    pub fn try_lock_for(&self, duration: Duration) -> Result<Guard<'_>> {
        self.lock_by(Deadline::after(duration))
    }

    /// Acquires the lock, and waits until this instant at the latest. It never times out early.
    ///
    /// The order of waiting threads is that of [`Lock::try_lock_for`].
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`].
    pub fn try_lock_until(&self, deadline: Instant) -> Result<Guard<'_>> {
        self.lock_by(Deadline::At(deadline))
    }

    /// Acquires the lock, and waits until the deadline. The order of waiting threads is that of [`Lock::try_lock_for`].
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`]. With [`Deadline::Now`], a held lock is an [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut).
    #[inline]
    pub fn lock_by(&self, deadline: Deadline) -> Result<Guard<'_>> {
        match self.acquire(deadline)? {
            Some((token, death)) => Ok(Guard::borrowed(self, token, death)),
            None => Err(self.timed_out(Duration::ZERO)),
        }
    }

    /// Acquires the lock as [`Lock::lock`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    #[inline]
    pub fn lock_owned(&self) -> Result<Guard<'static>> {
        self.lock_owned_by(Deadline::Never)
    }

    /// Acquires the lock as [`Lock::try_lock`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::try_lock`].
    #[inline]
    pub fn try_lock_owned(&self) -> Result<Option<Guard<'static>>> {
        Ok(self.try_acquire()?.map(|(token, death)| Guard::owned(self.clone(), token, death)))
    }

    /// Acquires the lock as [`Lock::try_lock_for`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`].
    pub fn try_lock_owned_for(&self, duration: Duration) -> Result<Guard<'static>> {
        self.lock_owned_by(Deadline::after(duration))
    }

    /// Acquires the lock as [`Lock::try_lock_until`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::try_lock_until`].
    pub fn try_lock_owned_until(&self, deadline: Instant) -> Result<Guard<'static>> {
        self.lock_owned_by(Deadline::At(deadline))
    }

    /// Acquires the lock as [`Lock::lock_by`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::lock_by`].
    #[inline]
    pub fn lock_owned_by(&self, deadline: Deadline) -> Result<Guard<'static>> {
        match self.acquire(deadline)? {
            Some((token, death)) => Ok(Guard::owned(self.clone(), token, death)),
            None => Err(self.timed_out(Duration::ZERO)),
        }
    }

    /// Acquires the lock, and returns the token and the death for its guard, or `None` when the lock is held and the deadline is
    /// [`Deadline::Now`].
    ///
    /// It returns words and not a guard, because a guard that is built in memory and then moved costs more than the acquisition.
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match self.raw().try_acquire_fast() {
            Some(token) => Ok(Some((token, None))),
            None => self.acquire_by(deadline),
        }
    }

    /// Acquires the lock as [`Lock::acquire`] does with [`Deadline::Now`].
    #[inline]
    fn try_acquire(&self) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match self.raw().try_acquire_now() {
            FastAttempt::Held { token } => Ok(Some((token, None))),
            FastAttempt::Busy => Ok(None),
            FastAttempt::Undecided => self.acquire_by(Deadline::Now),
        }
    }

    #[inline(never)]
    fn acquire_by(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        if deadline != Deadline::Now
            && let Some(watch) = self.deadlock_watch(false)?
        {
            let options = WaitOptions::new().deadline(deadline);
            return self.wait_watched(options, OwnerKind::Thread, Some(watch)).map(Some);
        }
        let start = matches!(deadline, Deadline::At(_)).then(Instant::now);
        match (self.result(deadline, self.observed(deadline, || self.raw().acquire(deadline)))?, start) {
            (None, Some(start)) => Err(self.timed_out(start.elapsed())),
            (acquired, _) => Ok(acquired),
        }
    }

    /// Runs an acquisition, which a subscriber of `tracing` may observe unless it is an attempt without a wait.
    #[inline]
    pub(crate) fn observed<T>(&self, deadline: Deadline, acquire: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        if deadline != Deadline::Now && crate::events::are_waits_observed() {
            return crate::events::observe(self, acquire);
        }
        let _ = deadline;
        acquire()
    }

    /// Converts the result of an acquisition by this deadline. Returns `None` when the deadline passed.
    #[inline]
    pub(crate) fn result(&self, deadline: Deadline, acquired: Result<Acquired>) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match acquired {
            Ok(Acquired::Held { token }) => Ok(Some((token, None))),
            Ok(Acquired::TimedOut) => Ok(None),
            Ok(Acquired::Recovered(recovery)) => Ok(Some(self.recovered(*recovery))),
            // Only a wait for the calling thread itself would never end.
            Err(error) if deadline == Deadline::Now && error.is_already_held() => Ok(None),
            Err(error) => Err(self.context_error(error)),
        }
    }

    #[cold]
    fn recovered(&self, Recovery { token, death }: Recovery) -> (u64, Option<Box<Death>>) {
        event!(warn, RECOVERED, store = self.store_url(), id = self.id().get(), %death, cause = %death.cause, "recovered a lock from a dead owner");
        (token, Some(Box::new(death)))
    }

    #[cold]
    fn context_error(&self, error: Error) -> Error {
        let error = self.in_context(error, Operation::Lock);
        event!(debug, REFUSED, store = self.store_url(), id = self.id().get(), %error, "a lock could not be acquired");
        error
    }

    /// Describes the holder of a lock for which the caller waits, as the error of a wait that timed out does.
    ///
    /// Unlike [`Lock::holder`], it also returns a dead holder, and the reason why a holder is unknown. It is meaningless for a lock
    /// that is free.
    pub fn held_by(&self) -> HeldBy {
        self.raw().held_by()
    }

    #[cold]
    pub(crate) fn timed_out(&self, waited: Duration) -> Error {
        self.wait_error(Error::timed_out(waited, self.held_by()))
    }

    /// Completes the error of a wait that ended without the lock.
    #[cold]
    pub(crate) fn wait_error(&self, error: Error) -> Error {
        let error = self.in_context(error, Operation::Lock);
        event!(debug, TIMED_OUT, store = self.store_url(), id = self.id().get(), %error, "gave up waiting for a lock");
        error
    }
}
