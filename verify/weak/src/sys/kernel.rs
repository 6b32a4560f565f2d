//! Stand-ins for the kernel: barriers, and the walk of a dead thread's robust list.

use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicUsize, fence};

use super::futex::wake_one;
use super::head::OFFSET;
use super::this_thread::ThisThread;

/// Executes the calling thread's part of a `membarrier`. [`light_fence`](crate::env::light_fence) is the part of the other threads.
pub(crate) fn barrier() -> bool {
    fence(SeqCst);
    ThisThread::get().barriers
}

/// Does the kernel's work at the death of the calling thread: `exit_robust_list` of kernel/futex/core.c.
pub(crate) fn walk_list() {
    let me = ThisThread::get();
    let Some(list) = me.list() else { return };
    let start = ptr::from_ref(list).addr();
    let mut node = list.first.load(Relaxed);
    while node != start {
        // SAFETY: an entry of this list is part of a lock of the table, which is never freed. The lock word is `OFFSET` bytes from it.
        let (next, word) =
            unsafe { ((*(node as *const AtomicUsize)).load(Relaxed), &*(node.wrapping_add_signed(OFFSET) as *const AtomicU32)) };
        let died = |word: u32| (word & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
        let marked = word.fetch_update(AcqRel, Acquire, |word| (word & libc::FUTEX_TID_MASK == me.id).then(|| died(word)));
        if marked.is_ok_and(|word| word & libc::FUTEX_WAITERS != 0) {
            wake_one(word);
        }
        node = next;
    }
}
