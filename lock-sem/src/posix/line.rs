//! The words of a lock's line: the recorded owner, the mark of waiters, and the semaphore.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;

use lock_core::{Error, Result};
use lock_table::{LockLine, Owner};
use nix::errno::Errno;

use crate::sys::PosixSemaphore;

/// The mark of waiters.
const WAITING: u32 = 1;

/// Returns the thread that has the lock, dead or alive. The result is none when the lock is free.
#[inline]
pub(super) fn lock_owner(line: &LockLine) -> Owner {
    let owner = line.owner();
    if owner.is_broken() { Owner::NONE } else { owner }
}

/// Checks whether the lock is free.
pub(super) fn is_free(line: &LockLine) -> bool {
    lock_owner(line).is_none()
}

/// Records that a thread may sleep, so that the next release posts a unit. Later loads of the owner are ordered after it.
pub(super) fn mark_waiting(line: &LockLine) {
    line.waiters.store(WAITING, SeqCst);
    fence(SeqCst);
}

/// Posts a unit of the semaphore if a thread may sleep. The caller has just freed the lock.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
#[inline]
pub(super) fn wake(line: &LockLine) -> Result<()> {
    // Validates the semaphore also when there is nothing to post, so that damage does not stay unnoticed.
    match semaphore_of(line)? {
        Some(semaphore) if line.waiters.load(SeqCst) != 0 => post(line, semaphore),
        _ => Ok(()),
    }
}

#[cold]
fn post(line: &LockLine, semaphore: &PosixSemaphore) -> Result<()> {
    // Each thread that has slept sets the mark again.
    line.waiters.store(0, Relaxed);
    semaphore.give().map_err(|e| call_error("sem_post", e))
}

/// Returns the semaphore, or `None` before the first owner has initialized it.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
#[inline]
pub(super) fn semaphore_of(line: &LockLine) -> Result<Option<&PosixSemaphore>> {
    PosixSemaphore::of(line).map_err(|errno| call_error("sem_t", errno))
}

/// Converts an errno of a semaphore call.
///
/// EINVAL, and EOVERFLOW of `sem_post`, mean that the semaphore is damaged.
#[cold]
pub(super) fn call_error(call: &'static str, errno: Errno) -> Error {
    match errno {
        Errno::EINVAL | Errno::EOVERFLOW => {
            let reason = format!("the semaphore in the lock's line is damaged ({call}: {errno})");
            Error::corrupt(reason)
        }
        _ => Error::system(call, errno),
    }
}
