//! Breaking of locks.
//!
//! The kernel does not release a `sem_t`, so breaking is the only way to free the lock of a dead owner.

use lock_core::{Acquired, Error, Result};
use lock_table::{Owner, Slot};

use super::line;

/// Frees a held lock, whether its owner is dead or alive. Of several concurrent calls, one succeeds.
///
/// # Errors
/// - [`ErrorKind::NotHeld`](lock_core::ErrorKind::NotHeld) when the lock is free, or another thread breaks it at the same time.
/// - [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the semaphore is damaged.
pub(super) fn break_lock(slot: &Slot) -> Result<()> {
    let line = slot.line();
    let owner = line::lock_owner(line);
    if owner.is_none() || !line.break_owner(owner) {
        return Err(Error::not_held());
    }
    line::wake(line)
}

/// Makes `me` the owner of a lock that was broken, if `before` is still its word.
///
/// `before` is the owner whose lock was broken. The result reports its death if it is dead.
#[cold]
pub(super) fn acquire_broken(slot: &Slot, before: Owner, me: Owner) -> Option<Acquired> {
    let table = slot.table();
    let is_dead = table.is_dead_or_dying(before) || table.is_gone(before);
    // The owner whose lock was broken has not forgotten it.
    line::forget_token(slot.line());
    let token = line::acquire(slot.line(), before, me)?;
    Some(slot.acquired(token, if is_dead { slot.record_death(before) } else { slot.repeated_death() }))
}
