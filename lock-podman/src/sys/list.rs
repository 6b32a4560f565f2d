//! Linking and unlinking of mutexes in the calling thread's robust list, as glibc does it (`nptl/descr.h`).
//!
//! The address of an entry is that of its [`Mutex::next`], and both links of a mutex are such addresses. Other mutexes of the list belong to
//! libc or to other users of the list, so that each link may be written by any of them.

use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicIsize, AtomicUsize, compiler_fence};

use crate::layout::Mutex;

/// The kernel's `struct robust_list_head`, which libc has registered for this thread.
///
/// Only the thread itself accesses it, and the kernel when the thread exits.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Head {
    /// `list.next`: the address of the first entry, or of the head itself if the list is empty.
    pub(super) first: AtomicUsize,
    /// `futex_offset`: the offset in bytes from an entry to its futex word.
    pub(super) offset: AtomicIsize,
    /// `list_op_pending`: the address of the entry that is being linked or unlinked, or 0.
    pub(super) pending: AtomicUsize,
}

/// The offset in bytes from an entry to its futex word.
pub(super) const OFFSET: isize = std::mem::offset_of!(Mutex, word) as isize - std::mem::offset_of!(Mutex, next) as isize;

impl Head {
    /// Announces to the kernel that the thread is about to acquire or to release the mutex.
    ///
    /// If the thread dies before [`Head::clear_pending`], the kernel frees the mutex if the thread owns it, whether it is in the list or
    /// not. If it is free, the kernel wakes one of its waiters.
    #[inline]
    pub(crate) fn set_pending(&self, mutex: &Mutex) {
        self.pending.store(address(mutex), Relaxed);
        compiler_fence(SeqCst);
    }

    #[inline]
    pub(crate) fn clear_pending(&self) {
        compiler_fence(SeqCst);
        self.pending.store(0, Relaxed);
    }
}

/// Links a mutex that the calling thread owns at the start of its list.
#[inline]
pub(crate) fn link(head: &Head, mutex: &Mutex) {
    // Links are followed by address, so the provenance of the head and of the mutex is exposed.
    let (start, _) = (ptr::from_ref(head).expose_provenance(), ptr::from_ref(mutex).expose_provenance());
    let (node, first) = (address(mutex), head.first.load(Relaxed));
    mutex.next.store(first, Relaxed);
    mutex.prev.store(start, Relaxed);
    if untagged(first) != start {
        // SAFETY: the head is private memory, and its first entry is a mutex that this thread holds.
        unsafe { set_prev(first, node) };
    }
    // The entry must be complete before the kernel can reach it.
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// Unlinks a mutex from the calling thread's list, in which it is.
#[inline]
pub(crate) fn unlink(head: &Head, mutex: &Mutex) {
    let start = ptr::from_ref(head).addr();
    let (prev, next) = (mutex.prev.load(Relaxed), mutex.next.load(Relaxed));
    // Another program has cleared the mutex, or the file was truncated and extended.
    if prev == 0 || next == 0 {
        return;
    }
    // SAFETY: the mutex is in the list of this thread. Its links were written by this thread, in this crate or in libc, so that its
    // neighbours are the head or mutexes that this thread holds. Another program that writes to the links of a mutex which it does not own
    // breaks this, for glibc's functions as well as here.
    unsafe {
        if untagged(next) != start {
            set_prev(next, prev);
        }
        set_next(prev, next);
    }
    // The kernel must not reach the mutex when its link is cleared.
    compiler_fence(SeqCst);
    mutex.prev.store(0, Relaxed);
    mutex.next.store(0, Relaxed);
}

/// Returns the address of a mutex as an entry.
#[inline]
fn address(mutex: &Mutex) -> usize {
    ptr::from_ref(&mutex.next).addr()
}

/// Clears the lowest bit of a link, which marks a priority-inheritance mutex.
#[inline]
fn untagged(link: usize) -> usize {
    link & !1
}

/// # Safety
/// `node` is the address of an entry of the calling thread's robust list, and not of its head.
#[inline]
unsafe fn set_prev(node: usize, prev: usize) {
    let place: *const AtomicUsize = ptr::with_exposed_provenance(untagged(node) - size_of::<usize>());
    // SAFETY: the entry is part of a mutex, which stays mapped while it is locked. In each of them `prev` is the word before `next`. Within
    // this process, only this thread accesses it.
    unsafe { (*place).store(prev, Relaxed) };
}

/// # Safety
/// `node` is the address of an entry of the calling thread's robust list, or of its head.
#[inline]
unsafe fn set_next(node: usize, next: usize) {
    let place: *const AtomicUsize = ptr::with_exposed_provenance(untagged(node));
    // SAFETY: as in `set_prev`. The address of an entry is that of its `next`, and the address of the head is that of its `first`.
    unsafe { (*place).store(next, Relaxed) };
}
