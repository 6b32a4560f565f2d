//! Frees the locks of an ended thread that are in no robust list.

use std::sync::atomic::Ordering::SeqCst;

use lock_table::Owner;

use super::head::OFFSET;
use super::{cache, wake_one};
use crate::env::AtomicU32;

/// Marks the held locks of the calling thread that are in no robust list as those of a dead owner.
pub(super) extern "C" fn mark_list(_: *mut libc::c_void) {
    if !cache::is_current() {
        return;
    }
    while let Some(node) = cache::pop_identity() {
        // SAFETY: this thread recorded the entry when it acquired the lock, and still holds the lock. A table is not unmapped while its
        // process holds one of its locks, so the entry is mapped. The lock word is `OFFSET` bytes from the entry.
        mark_as_dead(unsafe { &*(node.wrapping_add_signed(OFFSET) as *const AtomicU32) });
    }
    cache::free_record();
}

/// Does what the kernel does with the lock word of a dead thread: sets `FUTEX_OWNER_DIED` and wakes one waiter.
fn mark_as_dead(word: &AtomicU32) {
    let died = |present: u32| (present & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
    let marked = word
        .fetch_update(SeqCst, SeqCst, |present| (present & libc::FUTEX_TID_MASK >= Owner::FIRST_IDENTITY).then(|| died(present)));
    if marked.is_ok_and(|present| present & libc::FUTEX_WAITERS != 0) {
        wake_one(word);
    }
}
