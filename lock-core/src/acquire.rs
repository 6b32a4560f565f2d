//! The acquisitions of a lock.

use std::time::{Duration, Instant};

use crate::raw::{Acquired, Recovery};
use crate::{Deadline, Death, Error, ErrorKind, Guard, Lock, Operation, Result};

impl Lock {
    /// Acquires the lock, however long it takes.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`] when this thread holds it, where the backend can tell; what the system says.
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_>> {
        self.lock_by(Deadline::Never)
    }

    /// Acquires the lock if it is free; `None` when it is busy.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<Option<Guard<'_>>> {
        Ok(self.acquire(Deadline::Now)?.map(|(token, death)| Guard::borrowed(self, token, death)))
    }

    /// Acquires the lock if that succeeds within the duration, measured on the monotonic clock. It never gives up early.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`], which names the holder; otherwise as [`Lock::lock`].
    pub fn try_lock_for(&self, duration: Duration) -> Result<Guard<'_>> {
        self.lock_by(Deadline::after(duration))
    }

    /// Acquires the lock if that succeeds before the instant. It never gives up early.
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`].
    pub fn try_lock_until(&self, deadline: Instant) -> Result<Guard<'_>> {
        self.lock_by(Deadline::At(deadline))
    }

    /// Acquires the lock by the deadline.
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`]; with [`Deadline::Now`], a lock that is busy is one that timed out.
    #[inline]
    pub fn lock_by(&self, deadline: Deadline) -> Result<Guard<'_>> {
        match self.acquire(deadline)? {
            Some((token, death)) => Ok(Guard::borrowed(self, token, death)),
            None => Err(self.timed_out()),
        }
    }

    /// As [`Lock::lock`], with a guard that keeps a handle of its own.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    pub fn lock_owned(&self) -> Result<Guard<'static>> {
        self.lock_owned_by(Deadline::Never)
    }

    /// As [`Lock::try_lock`], with a guard that keeps a handle of its own.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    pub fn try_lock_owned(&self) -> Result<Option<Guard<'static>>> {
        Ok(self.acquire(Deadline::Now)?.map(|(token, death)| Guard::owned(self.clone(), token, death)))
    }

    /// As [`Lock::lock_by`], with a guard that keeps a handle of its own.
    ///
    /// # Errors
    /// As [`Lock::lock_by`].
    pub fn lock_owned_by(&self, deadline: Deadline) -> Result<Guard<'static>> {
        match self.acquire(deadline)? {
            Some((token, death)) => Ok(Guard::owned(self.clone(), token, death)),
            None => Err(self.timed_out()),
        }
    }

    /// What the guard of an acquisition is made of; `None` when the deadline passed. Only words come back here from what is not
    /// inlined: a guard that is built in memory and then moved costs more than taking the lock.
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match self.raw().acquire_at_once() {
            Some(token) => Ok(Some((token, None))),
            None => self.acquire_by(deadline),
        }
    }

    #[inline(never)]
    fn acquire_by(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match self.raw().acquire(deadline) {
            Ok(Acquired::Held { token }) => Ok(Some((token, None))),
            Ok(Acquired::TimedOut) => Ok(None),
            Ok(Acquired::Recovered(recovery)) => Ok(Some(self.recovered(*recovery))),
            Err(error) => Err(self.not_acquired(error)),
        }
    }

    #[cold]
    fn recovered(&self, Recovery { token, death }: Recovery) -> (u64, Option<Box<Death>>) {
        tracing::warn!(lock = ?self, %death, "recovered a lock from a dead owner");
        (token, Some(Box::new(death)))
    }

    #[cold]
    fn not_acquired(&self, error: Error) -> Error {
        let error = self.in_context(error, Operation::Lock);
        tracing::debug!(lock = ?self, %error, "a lock could not be acquired");
        error
    }

    #[cold]
    fn timed_out(&self) -> Error {
        // A holder that cannot be read is one that is not known: the news is the time-out.
        let error = ErrorKind::TimedOut { holder: self.raw().holder().ok().flatten() }.into();
        let error = self.in_context(error, Operation::Lock);
        tracing::debug!(lock = ?self, %error, "gave up waiting for a lock");
        error
    }
}
