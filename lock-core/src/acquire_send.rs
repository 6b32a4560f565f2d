//! The methods of [`Lock`] that acquire it for the process.

use std::time::{Duration, Instant};

use crate::raw::OwnerKind;
use crate::{Deadline, Death, Lock, Result, SendGuard, WaitOptions};

impl Lock {
    /// Acquires the lock for the process, and blocks until it is available.
    ///
    /// Any thread of the process may release the lock. Two calls in one process exclude each other, and they exclude the owners of a
    /// [`Guard`](crate::Guard). The [order](crate::Fairness) of waiting threads is that of [`Lock::lock`].
    ///
    /// # Examples
    /// ```
    /// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
    /// # let store = memory::store()?;
    /// let lock = store.allocate("an example")?;
    /// let guard = lock.lock_send_owned()?;
    /// let worker = std::thread::spawn(move || guard.unlock());
    /// worker.join().expect("the thread does not panic")?;
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not claim
    /// [`SendGuards::Supported`](crate::SendGuards::Supported); [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when this
    /// thread already holds the lock with a [`Guard`](crate::Guard) and the backend claims
    /// [`Reentry::Refused`](crate::Reentry::Refused); [`ErrorKind::System`](crate::ErrorKind::System) or
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    #[inline]
    pub fn lock_send(&self) -> Result<SendGuard<'_>> {
        self.lock_send_by(Deadline::Never)
    }

    /// Acquires the lock for the process if it is free. Returns `None` when a thread or a process holds it, which may be this one.
    ///
    /// # Errors
    /// As [`Lock::lock_send`], but not [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld).
    pub fn try_lock_send(&self) -> Result<Option<SendGuard<'_>>> {
        Ok(self.acquire_send_until(Deadline::Now)?.map(|(token, death)| SendGuard::borrowed(self, token, death)))
    }

    /// Acquires the lock for the process, and waits for at most this duration on the monotonic clock.
    ///
    /// It never times out early.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) with the length of the wait and the [holder](crate::HeldBy); otherwise
    /// as [`Lock::lock_send`].
    pub fn try_lock_send_for(&self, duration: Duration) -> Result<SendGuard<'_>> {
        self.lock_send_by(Deadline::after(duration))
    }

    /// Acquires the lock for the process, and waits until this instant at the latest. It never times out early.
    ///
    /// # Errors
    /// As [`Lock::try_lock_send_for`].
    pub fn try_lock_send_until(&self, deadline: Instant) -> Result<SendGuard<'_>> {
        self.lock_send_by(Deadline::At(deadline))
    }

    /// Acquires the lock for the process, and waits until the deadline.
    ///
    /// # Errors
    /// As [`Lock::try_lock_send_for`]. With [`Deadline::Now`], a held lock is an
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut).
    #[inline]
    pub fn lock_send_by(&self, deadline: Deadline) -> Result<SendGuard<'_>> {
        let (token, death) = self.acquire_send(deadline)?;
        Ok(SendGuard::borrowed(self, token, death))
    }

    /// Acquires the lock as [`Lock::lock_send`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::lock_send`].
    pub fn lock_send_owned(&self) -> Result<SendGuard<'static>> {
        self.lock_send_owned_by(Deadline::Never)
    }

    /// Acquires the lock as [`Lock::try_lock_send`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::try_lock_send`].
    pub fn try_lock_send_owned(&self) -> Result<Option<SendGuard<'static>>> {
        Ok(self.acquire_send_until(Deadline::Now)?.map(|(token, death)| SendGuard::owned(self.clone(), token, death)))
    }

    /// Acquires the lock as [`Lock::try_lock_send_for`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::try_lock_send_for`].
    pub fn try_lock_send_owned_for(&self, duration: Duration) -> Result<SendGuard<'static>> {
        self.lock_send_owned_by(Deadline::after(duration))
    }

    /// Acquires the lock as [`Lock::try_lock_send_until`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::try_lock_send_until`].
    pub fn try_lock_send_owned_until(&self, deadline: Instant) -> Result<SendGuard<'static>> {
        self.lock_send_owned_by(Deadline::At(deadline))
    }

    /// Acquires the lock as [`Lock::lock_send_by`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::lock_send_by`].
    pub fn lock_send_owned_by(&self, deadline: Deadline) -> Result<SendGuard<'static>> {
        let (token, death) = self.acquire_send(deadline)?;
        Ok(SendGuard::owned(self.clone(), token, death))
    }

    #[inline]
    fn acquire_send(&self, deadline: Deadline) -> Result<(u64, Option<Box<Death>>)> {
        let start = matches!(deadline, Deadline::At(_)).then(Instant::now);
        match self.acquire_send_until(deadline)? {
            Some(acquired) => Ok(acquired),
            None => Err(self.timed_out(start.map_or(Duration::ZERO, |start| start.elapsed()))),
        }
    }

    /// Acquires the lock for the process, and returns the token and the death for its guard. Returns `None` when the deadline passed.
    #[inline]
    pub(crate) fn acquire_send_until(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        if deadline != Deadline::Now
            && let Some(watch) = self.deadlock_watch(false)?
        {
            let options = WaitOptions::new().deadline(deadline);
            return self.wait_watched(options, OwnerKind::Process, Some(watch)).map(Some);
        }
        self.result(deadline, self.observed(deadline, || self.raw().acquire_for_process(deadline)))
    }
}
