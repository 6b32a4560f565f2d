//! The head of a thread's robust list, and its links.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use lock_table::LockLine;

use crate::env::{AtomicIsize, AtomicU64, AtomicUsize};

/// The kernel's `struct robust_list_head`, which libc has registered for this thread.
///
/// Only the thread itself accesses it, and the kernel when the thread exits.
#[repr(C)]
pub(crate) struct Head {
    /// `list.next`: the address of the first entry, or of the head itself if the list is empty.
    pub(crate) first: AtomicUsize,
    /// `futex_offset`: the offset in bytes from an entry to its futex word.
    pub(crate) offset: AtomicIsize,
    /// `list_op_pending`: the address of the entry that is being linked or unlinked, or 0.
    pub(crate) pending: AtomicUsize,
}

/// The offset in bytes from an entry to its futex word. It must equal the `futex_offset` of this C library.
pub(crate) const OFFSET: isize = std::mem::offset_of!(LockLine, word) as isize - std::mem::offset_of!(LockLine, next) as isize;

/// Returns whether the list has no entry.
#[inline]
pub(crate) fn is_empty(head: &Head) -> bool {
    head.first.load(Relaxed) == ptr::from_ref(head).addr()
}

/// Clears the lowest bit of a link, which marks a priority-inheritance mutex.
#[inline]
pub(super) fn untagged(link: usize) -> usize {
    link & !1
}

/// Returns the address of a list entry, as a link.
#[inline]
pub(crate) fn address(word: &AtomicU64) -> usize {
    ptr::from_ref(word).addr()
}
