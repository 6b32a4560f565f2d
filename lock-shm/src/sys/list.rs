//! Linking locks into the calling thread's robust list, and unlinking them.

use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;

use lock_table::Hot;

use super::cache;
use super::head::{Head, address, is_empty, untagged};
use super::thread_end::mark_at_end;
use crate::env;

/// Puts a line's node into the calling thread's list, which is empty, as libc does with those of its mutexes. The caller owns the lock.
#[inline]
pub(crate) fn link_only(head: &Head, hot: &Hot) {
    // Links are followed by their addresses: from a line to its neighbours, and to the head.
    let (start, _) = (ptr::from_ref(head).expose_provenance(), ptr::from_ref(hot).expose_provenance());
    let node = address(&hot.next);
    hot.next.store(start as u64, Relaxed);
    cache::note_only(node);
    // The node is whole before the kernel can come to it. Its `prev` is written by whoever is put before it, us or libc.
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// The same at the start of a list that may have others. The caller has found that it [can](super::can_link).
pub(crate) fn link(head: &Head, hot: &Hot) {
    if is_empty(head) {
        return link_only(head, hot);
    }
    let (node, first) = (address(&hot.next), head.first.load(Relaxed));
    ptr::from_ref(hot).expose_provenance();
    hot.next.store(first as u64, Relaxed);
    mark_at_end();
    cache::note_another(node);
    // SAFETY: the list is not empty, and its first node is another lock that this thread holds, ours. The head, which is this process's
    // alone, has its address, so that no other process can have changed it.
    unsafe { set_prev(first, node) };
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// Takes a line's node out of the calling thread's list, if it is the only one there. The caller owns the lock.
#[inline]
pub(crate) fn unlink_only(head: &Head, hot: &Hot) -> bool {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let only = head.first.load(Relaxed) == node && cache::is_last(head, hot);
    if only {
        head.first.store(start, Relaxed);
        cache::note_none();
    }
    only
}

/// Takes a line's node out of the calling thread's list, if it is there.
pub(crate) fn unlink(head: &Head, hot: &Hot) {
    let start = ptr::from_ref(head).addr();
    let Some((prev, next)) = cache::take_neighbours(head, hot) else { return };
    // SAFETY: the neighbours are other locks that this thread has linked, a mutex of libc's that the thread holds, or the head, as
    // private memory tells. What the line's own links say, which are in shared memory, is not used.
    unsafe {
        set_next(prev, next);
        if next != start {
            set_prev(next, prev);
        }
    }
}

/// # Safety
/// `node` links to a node of the calling thread's robust list other than its head.
#[inline]
unsafe fn set_prev(node: usize, prev: usize) {
    let place = env::link_target(untagged(node) - size_of::<usize>());
    // SAFETY: a node is in a mutex of libc's, which POSIX wants destroyed or unmapped only when it is unlocked, or in a line of ours,
    // which is mapped for as long as it is in the list (a table is not unmapped while this process holds a lock of it, and a library
    // that is unloaded leaves it mapped). In both, `prev` is the word before `next`, and is accessed by this thread alone.
    unsafe { (*place).store(prev, Relaxed) };
}

/// # Safety
/// `node` links to a node of the calling thread's robust list, or to its head.
#[inline]
unsafe fn set_next(node: usize, next: usize) {
    let place = env::link_target(untagged(node));
    // SAFETY: as in `set_prev`; a link is the address of the node's `next`, and `first` stands for the head's.
    unsafe { (*place).store(next, Relaxed) };
}
