//! The lock word, and its place in the kernel's robust list.
//!
//! The word has the kernel's format: the owner's thread id and [`WAITERS`]. In the word of a dead thread that it finds in that thread's
//! list, the kernel puts [`DIED`] in the place of the thread id, which leaves the lock free. A lock's node in the list is built as libc builds those of its mutexes, whose neighbour it is.
//!
//! Around each step that changes both the word and the list, `pending` names the node: whichever instruction the thread is killed
//! at, the kernel finds the word either in the list or there. (Documentation/locking/robust-futex-ABI.rst.)

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::compiler_fence;

use lock_core::table::{Hot, Owner};
use lock_core::{Error, Result};

use crate::sys::{self, Head, ThisThread};

/// Somebody sleeps, or may be about to: whoever releases the lock wakes one.
pub(crate) const WAITERS: u32 = libc::FUTEX_WAITERS;
/// The kernel found the word of a dead thread.
pub(crate) const DIED: u32 = libc::FUTEX_OWNER_DIED;
const TID: u32 = libc::FUTEX_TID_MASK;

/// From the node of a line to its word, as the kernel counts it: that of 64-bit glibc.
const OFFSET: isize = std::mem::offset_of!(Hot, word) as isize - std::mem::offset_of!(Hot, next) as isize;

/// What two programs must have in common to share a store.
pub(crate) fn abi() -> Result<u64> {
    let offset = ThisThread::get().map(|thread| thread.head().offset.load(Relaxed));
    match offset {
        Some(OFFSET) if cfg!(target_pointer_width = "64") => Ok((u64::from(usize::BITS) << 32) | OFFSET.unsigned_abs() as u64),
        Some(offset) => Err(Error::unsupported(format!(
            "this C library's robust list has the offset {offset}, and shm needs {OFFSET} (64-bit glibc)"
        ))),
        None => Err(Error::unsupported("this C library registers no robust list with the kernel")),
    }
}

/// The thread id in a word; 0 in the word of a lock that is free, or whose owner died.
pub(crate) fn owner(word: u32) -> u32 {
    word & TID
}

pub(crate) fn is_held(hot: &Hot) -> bool {
    owner(hot.word.load(Relaxed)) != 0
}

/// Puts the thread's id, and `waiters`, in the place of `old`, puts the lock in the thread's list, and writes the owner down. Returns the
/// token and who was written down before; `None` when the word was not `old`.
#[inline]
pub(crate) fn take(head: &Head, hot: &Hot, me: Owner, old: u32, waiters: u32) -> Option<(u64, Owner)> {
    begin(head, sys::address(&hot.next));
    let taken = hot.word.compare_exchange(old, me.tid() | waiters, Acquire, Relaxed).is_ok().then(|| {
        sys::link(head, hot);
        hot.begin(me)
    });
    end(head);
    taken
}

/// Takes the lock out of the list, strikes its owner out, makes it free, and wakes a waiter if there is one.
#[inline]
pub(crate) fn give(head: &Head, hot: &Hot) {
    begin(head, sys::address(&hot.next));
    sys::unlink(head, hot);
    hot.end();
    // If it is killed between the two, the kernel wakes one for it: `pending` is set and the word says nobody.
    if hot.word.swap(0, Release) & WAITERS != 0 {
        sys::wake_one(&hot.word);
    }
    end(head);
}

#[inline]
fn begin(head: &Head, node: usize) {
    head.pending.store(node, Relaxed);
    compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[inline]
fn end(head: &Head) {
    compiler_fence(std::sync::atomic::Ordering::SeqCst);
    head.pending.store(0, Relaxed);
}
