//! The end of a thread that holds locks which the kernel does not look after.

use std::sync::atomic::Ordering::SeqCst;

use lock_table::Owner;

use super::cache;
use super::futex::wake_one;
use super::head::OFFSET;
use crate::env::AtomicU32;

/// Marks the locks that the thread holds and that the kernel does not look after.
pub(super) extern "C" fn mark_list(_: *mut libc::c_void) {
    if !cache::is_current() {
        return;
    }
    while let Some(node) = cache::pop_identity() {
        // SAFETY: the thread recorded the node when it acquired the lock, and holds the lock: its line stays mapped (a table is not
        // unmapped while its process holds a lock of it). The lock's word is `OFFSET` from the node.
        mark_as_dead(unsafe { &*(node.wrapping_add_signed(OFFSET) as *const AtomicU32) });
    }
    cache::free_record();
}

/// What the kernel does with the word of a dead thread.
fn mark_as_dead(word: &AtomicU32) {
    let died = |present: u32| (present & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
    let marked = word
        .fetch_update(SeqCst, SeqCst, |present| (present & libc::FUTEX_TID_MASK >= Owner::FIRST_IDENTITY).then(|| died(present)));
    if marked.is_ok_and(|present| present & libc::FUTEX_WAITERS != 0) {
        wake_one(word);
    }
}
