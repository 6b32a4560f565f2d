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
    let owner = line::lock_owner(slot.line());
    if owner.is_none() || !line::disown(slot.line(), owner)? {
        return Err(Error::not_held());
    }
    Ok(())
}

/// Makes `me` the owner in the table after a break.
///
/// `before` is the owner whose lock was broken; the result reports its death if it is dead.
#[cold]
pub(super) fn record_owner_after_break(slot: &Slot, before: Owner, me: Owner) -> Acquired {
    let table = slot.table();
    let is_dead = table.is_dead_or_dying(before) || table.is_gone(before);
    if is_dead { slot.record_owner(me) } else { slot.record_owner_after_break(me) }
}
