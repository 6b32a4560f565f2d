//! The words of a lock's line: the recorded owner and its token, the mark of waiters, and the semaphore.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

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

/// Makes `me` the owner if `before`, which does not have the lock, is still recorded. Returns the token.
#[inline]
pub(super) fn acquire(line: &LockLine, before: Owner, me: Owner) -> Option<u64> {
    let token = line.acquire_owner(before, me)?;
    owner_token(line).store(token, Release);
    Some(token)
}

/// Returns the token of the owner that was read from the line before, or that of a later owner. `None` is unknown.
pub(super) fn token(line: &LockLine) -> Option<u64> {
    let token = owner_token(line).load(Acquire);
    (token != 0).then_some(token)
}

/// Makes the token of the owner unknown. Called before the owner is replaced.
#[inline]
pub(super) fn forget_token(line: &LockLine) {
    owner_token(line).store(0, Relaxed);
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

/// Posts a unit that this thread took, for the thread for which the lock is reserved.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
pub(super) fn pass_on(line: &LockLine) -> Result<()> {
    semaphore_of(line)?.map_or(Ok(()), |semaphore| semaphore.give().map_err(|e| call_error("sem_post", e)))
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

/// Returns the word with the token of the owner. It is 0 when the token is unknown.
fn owner_token(line: &LockLine) -> &AtomicU64 {
    &line.prev
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_without_a_token_does_not_have_that_of_the_owner_before() {
        let (line, [a, b]) = (LockLine::default(), [1, 2].map(Owner::from_word));
        assert_eq!(acquire(&line, Owner::NONE, a), Some(1));
        assert_eq!((lock_owner(&line), token(&line)), (a, Some(1)));
        assert_eq!(acquire(&line, Owner::NONE, b), None);
        assert_eq!(token(&line), Some(1), "a failed attempt changed the token");
        forget_token(&line);
        line.clear_owner();
        // As if `b` was stopped between the two steps of `acquire`.
        assert_eq!(line.acquire_owner(Owner::NONE, b), Some(2));
        assert_eq!((lock_owner(&line), token(&line)), (b, None));
    }
}
