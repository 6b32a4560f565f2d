//! Waits with a cancellation and a notice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use crate::raw::OwnerKind;
use crate::{Deadline, Death, Error, Guard, HeldBy, Lock, Result, SendGuard};

/// The longest time until a wait notices its cancellation. It is shorter than a person notices.
const SLICE: Duration = Duration::from_millis(100);

/// How to wait for a lock, for [`Lock::lock_with`].
///
/// The default waits without a limit.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lock_core::WaitOptions;
/// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
/// # let store = memory::store()?;
/// # let lock = store.allocate("an example")?;
/// let mut report = |waiting: &lock_core::Waiting| eprintln!("{waiting}");
/// // After ten seconds, and every ten seconds: "waiting for 10s; held by pid 4711 (make install)"
/// let guard = lock.lock_with(WaitOptions::new().notify_every(Duration::from_secs(10), &mut report))?;
/// # Ok::<(), lock_core::Error>(())
/// ```
#[must_use]
pub struct WaitOptions<'a> {
    deadline: Deadline,
    cancellation: Option<&'a Cancellation>,
    notice: Option<Notice<'a>>,
}

struct Notice<'a> {
    interval: Duration,
    notify: &'a mut dyn FnMut(&Waiting),
}

impl<'a> WaitOptions<'a> {
    /// Creates options for a wait without a limit.
    pub fn new() -> Self {
        Self { deadline: Deadline::Never, cancellation: None, notice: None }
    }

    /// Sets the deadline. The wait never ends before it.
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the deadline to this duration from now, on the monotonic clock.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.deadline(Deadline::after(timeout))
    }

    /// Ends the wait with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) soon after the cancellation.
    ///
    /// A wait notices its cancellation within 200 ms on a machine that is not overloaded. A wait that begins after the cancellation
    /// fails, also if the lock is free.
    pub fn cancellation(mut self, cancellation: &'a Cancellation) -> Self {
        self.cancellation = Some(cancellation);
        self
    }

    /// Calls a function during the wait, each time that `interval` has passed (at least 1 ms).
    ///
    /// The calling thread calls it and does not hold the lock. The wait continues after the call.
    pub fn notify_every(mut self, interval: Duration, notify: &'a mut dyn FnMut(&Waiting)) -> Self {
        self.notice = Some(Notice { interval: interval.max(Duration::from_millis(1)), notify });
        self
    }
}

impl Default for WaitOptions<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitOptions")
            .field("deadline", &self.deadline)
            .field("cancellation", &self.cancellation)
            .field("notify_every", &self.notice.as_ref().map(|notice| notice.interval))
            .finish()
    }
}

/// A wait that is not over, as [`WaitOptions::notify_every`] reports it.
///
/// It is displayed as `waiting for 30s; held by pid 4711 (make install)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Waiting {
    /// The time since the start of the wait.
    pub waited: Duration,
    /// The holder now.
    pub held_by: HeldBy,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {}s; {}", self.waited.as_secs(), self.held_by)
    }
}

/// Ends waits from another thread. Clones belong together: one of them cancels the waits of all.
///
/// # Examples
/// ```
/// use lock_core::{Cancellation, ErrorKind, WaitOptions};
/// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
/// # let store = memory::store()?;
/// # let lock = store.allocate("an example")?;
/// let cancellation = Cancellation::new();
/// // A handler of signals, or another thread:
/// cancellation.cancel();
/// let guard = lock.lock_with(WaitOptions::new().cancellation(&cancellation));
/// assert_eq!(guard.unwrap_err().kind(), ErrorKind::Cancelled);
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Creates a cancellation that has not happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels all waits with this cancellation, now and in future. May be called by a signal handler.
    pub fn cancel(&self) {
        self.0.store(true, Release);
    }

    /// Returns true after [`Cancellation::cancel`].
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Acquire)
    }
}

impl Lock {
    /// Acquires the lock, and waits as the options say.
    ///
    /// [`Lock::lock`], [`Lock::try_lock_for`] and the others are short forms for waits without a cancellation and a notice.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) after the cancellation; otherwise as [`Lock::lock_by`]. A wait with a
    /// cancellation or a notice needs a backend with deadlines, and is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported)
    /// otherwise.
    pub fn lock_with(&self, options: WaitOptions<'_>) -> Result<Guard<'_>> {
        let (token, death) = self.wait(options, OwnerKind::Thread)?;
        Ok(Guard::borrowed(self, token, death))
    }

    /// Acquires the lock as [`Lock::lock_with`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::lock_with`].
    pub fn lock_owned_with(&self, options: WaitOptions<'_>) -> Result<Guard<'static>> {
        let (token, death) = self.wait(options, OwnerKind::Thread)?;
        Ok(Guard::owned(self.clone(), token, death))
    }

    /// Acquires the lock for the process as [`Lock::lock_send`] does, and waits as [`Lock::lock_with`] does.
    ///
    /// # Errors
    /// As [`Lock::lock_with`] and [`Lock::lock_send`].
    pub fn lock_send_with(&self, options: WaitOptions<'_>) -> Result<SendGuard<'_>> {
        let (token, death) = self.wait(options, OwnerKind::Process)?;
        Ok(SendGuard::borrowed(self, token, death))
    }

    /// Acquires the lock as [`Lock::lock_send_with`] does.
    ///
    /// The guard contains a clone of this handle and has no lifetime.
    ///
    /// # Errors
    /// As [`Lock::lock_send_with`].
    pub fn lock_send_owned_with(&self, options: WaitOptions<'_>) -> Result<SendGuard<'static>> {
        let (token, death) = self.wait(options, OwnerKind::Process)?;
        Ok(SendGuard::owned(self.clone(), token, death))
    }

    /// Waits in slices, each of which ends at the next notice, at the deadline, or when the cancellation is to be checked again.
    fn wait(&self, mut options: WaitOptions<'_>, owner: OwnerKind) -> Result<(u64, Option<Box<Death>>)> {
        let begin = Instant::now();
        let mut next_notice = options.notice.as_ref().and_then(|notice| begin.checked_add(notice.interval));
        let (mut has_waited, mut is_cancelled) = (false, false);
        let mut next_slice = || {
            is_cancelled = options.cancellation.is_some_and(Cancellation::is_cancelled);
            if is_cancelled || has_waited && options.deadline.has_passed() {
                return None;
            }
            if let (Some(at), Some(notice)) = (next_notice, &mut options.notice)
                && at <= Instant::now()
            {
                (notice.notify)(&Waiting { waited: begin.elapsed(), held_by: self.held_by() });
                // A slow function delays the next notice.
                next_notice = Instant::now().checked_add(notice.interval);
            }
            has_waited = true;
            let check = options.cancellation.map(|_| Instant::now() + SLICE);
            Some(match next_notice.into_iter().chain(check).min() {
                Some(end) => options.deadline.min(Deadline::At(end)),
                None => options.deadline,
            })
        };
        let deadline = options.deadline;
        let acquired = self.observed(deadline, || self.raw().acquire_in_slices(owner, &mut next_slice));
        match self.result(options.deadline, acquired)? {
            Some(acquired) => Ok(acquired),
            None if is_cancelled => Err(self.wait_error(Error::cancelled(begin.elapsed(), self.held_by()))),
            None => Err(self.wait_error(Error::timed_out(begin.elapsed(), self.held_by()))),
        }
    }
}
