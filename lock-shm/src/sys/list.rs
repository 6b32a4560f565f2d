//! Linking and unlinking of locks in the calling thread's robust list.

use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;

use lock_table::LockLine;

use super::cache;
use super::head::{Head, address, is_empty, untagged};
use super::thread_end::mark_at_end;
use crate::env;

/// Links a lock into the calling thread's empty robust list, as libc links a mutex. The caller owns the lock.
#[inline]
pub(crate) fn link_only(head: &Head, line: &LockLine) {
    // Links are followed by address, so the provenance of the head and of the lock is exposed.
    let (start, _) = (ptr::from_ref(head).expose_provenance(), ptr::from_ref(line).expose_provenance());
    let node = address(&line.next);
    line.next.store(start as u64, Relaxed);
    cache::record_only(node);
    // The entry must be complete before the kernel can reach it. Its `prev` is written when another entry is linked before it, by this
    // crate or by libc.
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// Links a lock at the start of the calling thread's robust list, which may have entries.
///
/// The caller owns the lock and has checked [`can_link`](super::can_link).
pub(crate) fn link(head: &Head, line: &LockLine) {
    if is_empty(head) {
        return link_only(head, line);
    }
    let (node, first) = (address(&line.next), head.first.load(Relaxed));
    ptr::from_ref(line).expose_provenance();
    line.next.store(first as u64, Relaxed);
    mark_at_end();
    cache::record_another(node);
    // SAFETY: the list is not empty, and `can_link` holds, so the first entry is a lock of this crate that this thread holds. Its
    // address is read from the head, which is private memory that no other process can write to.
    unsafe { set_prev(first, node) };
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// Unlinks a lock if it is the only entry of the calling thread's robust list, and returns whether it was. The caller owns the lock.
#[inline]
pub(crate) fn unlink_only(head: &Head, line: &LockLine) -> bool {
    let (start, node) = (ptr::from_ref(head).addr(), address(&line.next));
    let only = head.first.load(Relaxed) == node && cache::is_last(head, line);
    if only {
        head.first.store(start, Relaxed);
        cache::record_none();
    }
    only
}

/// Unlinks a lock from the calling thread's robust list if it is there.
pub(crate) fn unlink(head: &Head, line: &LockLine) {
    let start = ptr::from_ref(head).addr();
    let Some((prev, next)) = cache::take_neighbours(head, line) else { return };
    // SAFETY: each neighbour is a lock that this thread has linked, a libc mutex that it holds, or the head. `take_neighbours` finds it
    // in the thread's private record, or by the links of the libc mutexes. It does not use the lock's own links, which other processes
    // can overwrite.
    unsafe {
        set_next(prev, next);
        if next != start {
            set_prev(next, prev);
        }
    }
}

/// # Safety
/// `node` is the address of an entry of the calling thread's robust list, and not of its head.
#[inline]
unsafe fn set_prev(node: usize, prev: usize) {
    let place = env::link_target(untagged(node) - size_of::<usize>());
    // SAFETY: the entry is part of a libc mutex or of a lock of this crate. POSIX forbids destroying or unmapping a locked mutex. A lock
    // stays mapped while it is in the list: a table is not unmapped while this process holds one of its locks, and unloading the library
    // leaves it mapped. In both layouts, `prev` is the word before `next`. Within this process, only this thread accesses it.
    unsafe { (*place).store(prev, Relaxed) };
}

/// # Safety
/// `node` is the address of an entry of the calling thread's robust list, or of its head.
#[inline]
unsafe fn set_next(node: usize, next: usize) {
    let place = env::link_target(untagged(node));
    // SAFETY: an entry is valid as in `set_prev`, and its address is that of its `next`. The address of the head is that of its `first`.
    unsafe { (*place).store(next, Relaxed) };
}
