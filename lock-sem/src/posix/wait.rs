//! Waiting for a held lock: a thread sleeps on the semaphore, for at most 200 ms at a time.

use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Result};
use lock_table::LockLine;

use super::line;
use crate::sys::TIMED_WAIT;

/// The longest sleep.
///
/// A process that is killed between two steps may lose a unit of the semaphore. So a waiter checks the lock after this time even
/// if it gets no unit.
const SLEEP: Duration = Duration::from_millis(200);

/// Number of times to poll for a semaphore that its first owner is initializing before sleeping.
const YIELDS: u32 = 50;

/// The first pause of a thread that gives way to another one.
const FIRST_PAUSE: Duration = Duration::from_micros(50);

/// The longest of these pauses. Each is twice as long as the previous one.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The result of an attempt to acquire a lock.
pub(super) enum Attempt {
    Acquired(Acquired),
    Busy,
    /// The lock is free, and reserved for another thread.
    Reserved,
}

/// Calls `attempt` whenever the lock is free, until it succeeds or the deadline passes.
///
/// Calls `before_sleep` before each sleep. It may return a limit for that sleep.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
pub(super) fn until(
    lock_line: &LockLine,
    deadline: Deadline,
    before_sleep: impl Fn() -> Option<Duration>,
    attempt: impl Fn() -> Attempt,
) -> Result<Acquired> {
    let (mut yields, mut has_slept, mut has_unit, mut pause) = (0, false, false, FIRST_PAUSE);
    loop {
        let attempted = if line::is_free(lock_line) { attempt() } else { Attempt::Busy };
        if let Attempt::Acquired(acquired) = attempted {
            if has_slept {
                line::mark_waiting(lock_line);
            }
            return Ok(acquired);
        }
        let remaining = deadline.remaining().unwrap_or(SLEEP);
        if remaining.is_zero() {
            if has_slept {
                leave(lock_line)?;
            }
            return Ok(Acquired::TimedOut);
        }
        if let Attempt::Reserved = attempted {
            before_sleep();
            if has_unit {
                // The lock is reserved for a thread that may sleep on the semaphore.
                line::pass_on(lock_line)?;
                has_unit = false;
            }
            thread::sleep(remaining.min(pause));
            pause = LONGEST_PAUSE.min(pause * 2);
            continue;
        }
        pause = FIRST_PAUSE;
        let sleep = remaining.min(SLEEP);
        match line::semaphore_of(lock_line)? {
            Some(semaphore) => {
                let limit = before_sleep();
                line::mark_waiting(lock_line);
                if line::is_free(lock_line) {
                    continue;
                }
                has_slept = true;
                let sleep = limit.map_or(sleep, |limit| sleep.min(limit));
                has_unit = semaphore.take_within(Some(sleep)).map_err(|e| line::call_error(TIMED_WAIT, e))?;
            }
            None if yields < YIELDS => {
                yields += 1;
                thread::yield_now();
            }
            None => {
                before_sleep();
                thread::sleep(sleep);
            }
        }
    }
}

/// Ends a wait without the lock. The thread may have taken a unit that another waiter needs.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
fn leave(lock_line: &LockLine) -> Result<()> {
    line::mark_waiting(lock_line);
    if line::is_free(lock_line) { line::wake(lock_line) } else { Ok(()) }
}
