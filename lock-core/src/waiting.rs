//! Waits with a cancellation and a notice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use crate::deadlock_policy::{self, Handling};
use crate::event::{self, event};
use crate::raw::OwnerKind;
use crate::wait_graph::{Advice, DeadlockWatch};
use crate::{Deadline, Death, Error, Guard, HeldBy, Lock, Operation, Result, SendGuard};

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
    refuses_deadlocks: bool,
}

struct Notice<'a> {
    interval: Duration,
    notify: &'a mut dyn FnMut(&Waiting),
}

impl<'a> WaitOptions<'a> {
    /// Creates options for a wait without a limit.
    pub fn new() -> Self {
        Self { deadline: Deadline::Never, cancellation: None, notice: None, refuses_deadlocks: false }
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

impl<'a> WaitOptions<'a> {
    /// Ends the wait with [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if it closes a cycle of threads that wait for each other.
    ///
    /// The error carries the cycle ([`Error::deadlock_cycle`]). The calling thread still holds its other locks: it releases them, and
    /// tries again after a pause. Of several members of a cycle that have this option, exactly one gets the error; which one is not specified. It gets it
    /// within a second on a machine that is not overloaded. A member without the option never gets it.
    ///
    /// The option `deadlocks=refuse` in the URL of a store sets this for each wait for one of its locks. Without it, a wait that has lasted
    /// for a second and closes a cycle logs a warning (`tracing`).
    ///
    /// Only certain cycles count: each member waits for a lock of the same store, and holds one as a thread, or as a process with one
    /// thread. [`WaitGraph::read`](crate::WaitGraph::read) also finds cycles across stores, of processes with several threads, and of
    /// ancestor processes that wait for their descendants.
    ///
    /// # Cost
    /// A wait that ends within 150 ms does not pay. A longer one reads the waiting threads of the store about five times a second, or less
    /// often if the reading takes longer than 15 ms: a wait spends at most a tenth of its time on it.
    ///
    /// # Examples
    /// ```no_run
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// use lock_core::{ErrorKind, Lock, Result, WaitOptions};
    ///
    /// /// Locks both. The order does not matter, because the loser of a deadlock starts again.
    /// fn copy(from: &Lock, to: &Lock) -> Result<()> {
    ///     loop {
    ///         let from = from.lock()?;
    ///         match to.lock_with(WaitOptions::new().refuse_deadlocks()) {
    ///             Ok(_to) => return Ok(()),
    ///             Err(error) if error.kind() == ErrorKind::Deadlock => eprintln!("{error}"),
    ///             Err(error) => return Err(error),
    ///         }
    ///         drop(from);
    ///         // The waiter acquires the lock meanwhile.
    ///         thread::sleep(Duration::from_millis(10));
    ///     }
    /// }
    /// ```
    pub fn refuse_deadlocks(mut self) -> Self {
        self.refuses_deadlocks = true;
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
            .field("refuse_deadlocks", &self.refuses_deadlocks)
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

    /// Returns the watch for a wait, or `None` if nothing is to be done about a deadlock.
    #[inline]
    pub(crate) fn deadlock_watch(&self, refuses: bool) -> Result<Option<DeadlockWatch>> {
        match self.store().deadlocks {
            Handling::Impossible if refuses => Err(self.in_context(deadlock_policy::undetectable(), Operation::Lock)),
            Handling::Warn if refuses => Ok(Some(DeadlockWatch::new(Instant::now(), true))),
            Handling::Refuse => Ok(Some(DeadlockWatch::new(Instant::now(), true))),
            Handling::Warn if event::warns() => Ok(Some(DeadlockWatch::new(Instant::now(), false))),
            Handling::Impossible | Handling::Warn => Ok(None),
        }
    }

    fn wait(&self, options: WaitOptions<'_>, owner: OwnerKind) -> Result<(u64, Option<Box<Death>>)> {
        let watch = self.deadlock_watch(options.refuses_deadlocks)?;
        self.wait_watched(options, owner, watch)
    }

    /// Waits in slices, each of which ends at the next notice, at the next check for a deadlock, at the deadline, or when the cancellation
    /// is to be checked again.
    pub(crate) fn wait_watched(
        &self,
        mut options: WaitOptions<'_>,
        owner: OwnerKind,
        mut watch: Option<DeadlockWatch>,
    ) -> Result<(u64, Option<Box<Death>>)> {
        let begin = Instant::now();
        let mut next_notice = options.notice.as_ref().and_then(|notice| begin.checked_add(notice.interval));
        let (mut has_waited, mut is_cancelled) = (false, false);
        loop {
            let mut is_suspect = false;
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
                is_suspect = has_waited && watch.as_mut().is_some_and(|watch| watch.check(self) == Advice::Withdraw);
                if is_suspect {
                    return None;
                }
                has_waited = true;
                let cancellation = options.cancellation.map(|_| Instant::now() + SLICE);
                let check = watch.as_ref().and_then(DeadlockWatch::next);
                Some(match next_notice.into_iter().chain(cancellation).chain(check).min() {
                    Some(end) => options.deadline.min(Deadline::At(end)),
                    None => options.deadline,
                })
            };
            let deadline = options.deadline;
            let acquired = self.observed(deadline, || self.raw().acquire_in_slices(owner, &mut next_slice));
            if let Some(acquired) = self.result(options.deadline, acquired)? {
                return Ok(acquired);
            }
            match watch.as_mut().filter(|_| is_suspect) {
                None if is_cancelled => return Err(self.wait_error(Error::cancelled(begin.elapsed(), self.held_by()))),
                None => return Err(self.wait_error(Error::timed_out(begin.elapsed(), self.held_by()))),
                Some(watch) => {
                    if let Some(cycle) = watch.confirm(self) {
                        event!(
                            warn,
                            DEADLOCK,
                            store = self.store_url(),
                            id = self.id().get(),
                            %cycle,
                            "refused a wait for a lock that is part of a deadlock"
                        );
                        return Err(self.in_context(Error::deadlock(begin.elapsed(), cycle), Operation::Lock));
                    }
                }
            }
        }
    }
}
