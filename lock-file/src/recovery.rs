//! Takeover of a lock from a dead owner.
//!
//! The kernel releases the lock of a process that dies. But a free kernel lock does not prove a death: the program of a living
//! owner may have closed the descriptor, or another program may have removed the file. So the table decides.

use lock_core::Acquired;
use lock_table::{Owner, Slot};

/// Makes the caller the owner. Returns `None` while the table names an owner that is not proven dead.
///
/// The caller holds the kernel's lock.
#[inline]
pub(crate) fn record_owner(slot: &Slot, me: Owner) -> Option<Acquired> {
    let before = slot.line().owner();
    let free = before.is_none() || slot.table().is_dead_or_dying(before);
    free.then(|| slot.replace_owner(before, me)).flatten()
}
