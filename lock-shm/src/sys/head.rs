//! The head of a robust list, and the links that start from it.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use lock_table::Hot;

use crate::env::{AtomicIsize, AtomicU64, AtomicUsize};

/// The kernel's `struct robust_list_head`, which libc registered for this thread. Only the thread itself touches it, and the kernel
/// when the thread is dead.
#[repr(C)]
pub(crate) struct Head {
    /// The first node; the head itself where there is none.
    pub(crate) first: AtomicUsize,
    /// From a node to its futex word.
    pub(crate) offset: AtomicIsize,
    /// The node that is being linked or unlinked.
    pub(crate) pending: AtomicUsize,
}

/// From a node to its word, as this C library registers it with the kernel.
pub(crate) const OFFSET: isize = std::mem::offset_of!(Hot, word) as isize - std::mem::offset_of!(Hot, next) as isize;

/// Whether the calling thread's list has no node.
#[inline]
pub(crate) fn is_empty(head: &Head) -> bool {
    head.first.load(Relaxed) == ptr::from_ref(head).addr()
}

/// A link without libc's mark, in its lowest bit, of a priority-inheritance mutex.
#[inline]
pub(super) fn untagged(link: usize) -> usize {
    link & !1
}

/// The address of a word of a line, as a link.
#[inline]
pub(crate) fn address(word: &AtomicU64) -> usize {
    ptr::from_ref(word).addr()
}
