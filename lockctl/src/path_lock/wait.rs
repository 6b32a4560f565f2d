//! Waiting for both locks of a file.
//!
//! A waiter never keeps one lock while it waits for the other. So it cannot deadlock with a program that acquires them in another
//! order.
//!
//! The kernel ends a sleep for a lock at a signal only. A thread therefore sleeps, and the main thread interrupts it at the
//! deadline. The signal is SIGURG, which ends no process, and which only that thread receives.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lock_any::Deadline;
use nix::errno::Errno;
use nix::sys::pthread::{Pthread, pthread_kill};
use nix::sys::signal::{SigSet, Signal};

use crate::sys;

use super::kind::{IfBusy, Kind};

/// The signal that interrupts the thread.
const INTERRUPT: Signal = Signal::SIGURG;
/// Time between two signals. A signal is without effect if it arrives just before the sleep.
const REPEAT: Duration = Duration::from_millis(1);
/// Time between two attempts, without a thread.
const POLL: Duration = Duration::from_millis(20);
/// Time until the first notice. Most waits are shorter, and a search for the holder reads all processes.
const FIRST_NOTICE: Duration = Duration::from_millis(50);

/// Acquires both locks. Returns false if one is busy until the deadline.
///
/// Calls `notice` with true after [`FIRST_NOTICE`], and with false after `notice_after`, until it returns true.
pub(super) fn acquire(
    file: BorrowedFd<'_>,
    kinds: [Kind; 2],
    deadline: Deadline,
    notice_after: Duration,
    notice: impl FnMut(bool) -> bool,
) -> io::Result<bool> {
    if attempt(file, kinds)? {
        return Ok(true);
    }
    if deadline == Deadline::Now {
        return Ok(false);
    }
    let notices = Notices { at: [FIRST_NOTICE, notice_after].map(|after| Instant::now() + after).into(), give: notice };
    match Waiter::start(file.try_clone_to_owned()?, kinds) {
        Ok(waiter) => waiter.join_until(deadline, notices),
        // The process may have no further thread.
        Err(_) => poll(file, kinds, deadline, notices),
    }
}

/// Acquires both locks, or neither.
fn attempt(file: BorrowedFd<'_>, [first, second]: [Kind; 2]) -> nix::Result<bool> {
    if !first.acquire(file, IfBusy::Return)? {
        return Ok(false);
    }
    let result = second.acquire(file, IfBusy::Return);
    if result != Ok(true) {
        first.release(file)?;
    }
    result
}

/// The notices of a wait that are left.
struct Notices<F> {
    /// Their times.
    at: VecDeque<Instant>,
    give: F,
}

impl<F: FnMut(bool) -> bool> Notices<F> {
    /// Gives a notice that is due.
    fn poll(&mut self) {
        if self.at.front().is_some_and(|at| Instant::now() >= *at) {
            self.at.pop_front();
            if (self.give)(!self.at.is_empty()) {
                self.at.clear();
            }
        }
    }

    /// Returns the time until the deadline or the next notice.
    fn pause(&self, deadline: Deadline) -> Duration {
        let notice = self.at.front().map(|at| at.saturating_duration_since(Instant::now()));
        notice.into_iter().chain(deadline.remaining()).min().unwrap_or(Duration::from_secs(3600))
    }
}

/// A thread that waits for both locks.
struct Waiter {
    thread: JoinHandle<()>,
    is_cancelled: Arc<AtomicBool>,
    result: Receiver<nix::Result<bool>>,
}

impl Waiter {
    fn start(file: OwnedFd, kinds: [Kind; 2]) -> io::Result<Self> {
        sys::interrupt_calls_with(INTERRUPT)?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (sender, result) = channel();
        let wait = {
            let is_cancelled = Arc::clone(&is_cancelled);
            move || {
                let unblocked: SigSet = [INTERRUPT].into_iter().collect();
                let result = unblocked.thread_unblock().and_then(|()| wait(file.as_fd(), kinds, &is_cancelled));
                // The receiver waits for the result.
                let _ = sender.send(result);
            }
        };
        let thread = thread::Builder::new().name("waiter".to_owned()).spawn(wait)?;
        Ok(Self { thread, is_cancelled, result })
    }

    /// Waits for the thread, and interrupts it at the deadline. It may have acquired the locks just before that.
    fn join_until(self, deadline: Deadline, mut notices: Notices<impl FnMut(bool) -> bool>) -> io::Result<bool> {
        let result = loop {
            match self.result.recv_timeout(notices.pause(deadline)) {
                Err(RecvTimeoutError::Timeout) if deadline.has_passed() => break self.cancel(),
                Err(RecvTimeoutError::Timeout) => notices.poll(),
                result => break result.ok(),
            }
        };
        // Then no thread receives the signal any more. An error is a panic of the thread, which has sent no result.
        let _ = self.thread.join();
        result.map_or_else(|| Err(io::Error::other("the waiting thread has ended")), |result| Ok(result?))
    }

    /// Interrupts the thread until it ends. Returns its result.
    fn cancel(&self) -> Option<nix::Result<bool>> {
        self.is_cancelled.store(true, Ordering::Relaxed);
        loop {
            // An error is ignored: the thread may have ended.
            let _ = pthread_kill(self.thread.as_pthread_t() as Pthread, INTERRUPT);
            match self.result.recv_timeout(REPEAT) {
                Err(RecvTimeoutError::Timeout) => {}
                result => return result.ok(),
            }
        }
    }
}

/// Sleeps until both locks are acquired, or until the wait is cancelled.
fn wait(file: BorrowedFd<'_>, kinds: [Kind; 2], is_cancelled: &AtomicBool) -> nix::Result<bool> {
    let [mut first, mut second] = kinds;
    loop {
        match first.acquire(file, IfBusy::Wait) {
            Err(Errno::EINTR) if is_cancelled.load(Ordering::Relaxed) => return Ok(false),
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        match second.acquire(file, IfBusy::Return) {
            Ok(true) => return Ok(true),
            result => {
                first.release(file)?;
                result?;
            }
        }
        (first, second) = (second, first);
    }
}

fn poll(
    file: BorrowedFd<'_>,
    kinds: [Kind; 2],
    deadline: Deadline,
    mut notices: Notices<impl FnMut(bool) -> bool>,
) -> io::Result<bool> {
    loop {
        // Read before the attempt, so that the last attempt is made after the deadline.
        let has_passed = deadline.has_passed();
        if attempt(file, kinds)? {
            return Ok(true);
        }
        if has_passed {
            return Ok(false);
        }
        thread::sleep(notices.pause(deadline).min(POLL));
        notices.poll();
    }
}
