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

/// Calls `attempt` whenever the lock is free, until it succeeds or the deadline passes. Calls `before_sleep` before each sleep.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
pub(super) fn until(
    lock_line: &LockLine,
    deadline: Deadline,
    mut before_sleep: impl FnMut(),
    attempt: impl Fn() -> Option<Acquired>,
) -> Result<Acquired> {
    let (mut yields, mut has_slept) = (0, false);
    loop {
        if line::is_free(lock_line)
            && let Some(acquired) = attempt()
        {
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
        let sleep = remaining.min(SLEEP);
        match line::semaphore_of(lock_line)? {
            Some(semaphore) => {
                before_sleep();
                line::mark_waiting(lock_line);
                if line::is_free(lock_line) {
                    continue;
                }
                has_slept = true;
                semaphore.take_within(Some(sleep)).map_err(|e| line::call_error(TIMED_WAIT, e))?;
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
