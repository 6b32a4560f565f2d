//! The words of a lock's line: the owner that has the lock, and the semaphore.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use lock_core::{Error, Result};
use lock_table::{LockLine, Owner};
use nix::errno::Errno;

use crate::sys::PosixSemaphore;

/// Returns the thread that has the lock, dead or alive. The result is none when the lock is free.
#[inline]
pub(super) fn lock_owner(line: &LockLine) -> Owner {
    Owner::from_word(owner_word(line).load(Acquire))
}

/// Checks whether the lock is free, without ordering later loads.
pub(super) fn is_free(line: &LockLine) -> bool {
    owner_word(line).load(Relaxed) == 0
}

/// Makes `me` the owner if the lock is free. Returns whether it did.
#[inline]
pub(super) fn try_own(line: &LockLine, me: Owner) -> bool {
    owner_word(line).compare_exchange(0, me.word(), AcqRel, Relaxed).is_ok()
}

/// Frees the lock if `owner` has it, and posts a unit of the semaphore.
///
/// Returns false if `owner` does not have the lock.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
pub(super) fn disown(line: &LockLine, owner: Owner) -> Result<bool> {
    if owner_word(line).compare_exchange(owner.word(), 0, Release, Relaxed).is_err() {
        return Ok(false);
    }
    if let Some(semaphore) = semaphore_of(line)? {
        semaphore.give().map_err(|e| call_error("sem_post", e))?;
    }
    Ok(true)
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

fn owner_word(line: &LockLine) -> &AtomicU64 {
    &line.prev
}
