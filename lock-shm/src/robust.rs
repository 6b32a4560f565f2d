//! The lock word, and its place in the kernel's robust list.
//!
//! The word has the kernel's format: the owner's thread id and `WAITERS`. In the word of a dead thread that it finds in that thread's
//! list, the kernel puts [`DIED`] in the place of the thread id, which leaves the lock free. A lock's node in the list is built as libc builds those of its mutexes, whose neighbour it is.
//!
//! Around each step that changes both the word and the list, `pending` names the node: whichever instruction the thread is killed
//! at, the kernel finds the word either in the list or there. (Documentation/locking/robust-futex-ABI.rst.)

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::compiler_fence;

use lock_core::table::{Hot, Owner};
use lock_core::{Error, Result};

use crate::sys::{self, Head, ThisThread};
use crate::waiters::{self, Release};

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

/// Puts the thread's id in the place of nobody's, puts the lock in the thread's list, and writes the owner down. Nobody was written down
/// before: a lock becomes free when its owner is struck out, and free but for [`DIED`] when the owner died. Returns the token; `None` when
/// the word was not 0.
#[inline]
pub(crate) fn take_free(head: &Head, hot: &Hot, me: Owner, tid: u32) -> Option<u64> {
    begin(head, sys::address(&hot.next));
    let taken = hot.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {
        sys::link(head, hot);
        hot.begin_after_nobody(me)
    });
    end(head);
    taken
}

/// Puts the thread's id, and `waiting`, in the place of `old`, puts the lock in the thread's list, and writes the owner down. Returns the
/// token and who was written down before; `None` when the word was not `old`.
pub(crate) fn take(head: &Head, hot: &Hot, me: Owner, old: u32, waiting: u32) -> Option<(u64, Owner)> {
    begin(head, sys::address(&hot.next));
    let taken = hot.word.compare_exchange(old, me.tid() | waiting, Acquire, Relaxed).is_ok().then(|| {
        sys::link(head, hot);
        if waiting != 0 {
            waiters::keep(hot);
        }
        hot.begin(me)
    });
    end(head);
    taken
}

/// Takes the lock out of the list, strikes its owner out, makes it free, and wakes a waiter if there is one. `plain` says that this
/// process takes part in barriers.
///
/// If it is killed after the lock is free and before it has woken a waiter, the kernel wakes one for it: `pending` is set and the word
/// says nobody.
#[inline]
pub(crate) fn give(head: &Head, hot: &Hot, plain: bool) {
    begin(head, sys::address(&hot.next));
    if !sys::unlink_only(head, hot) {
        return give_one_of_several(head, hot, plain);
    }
    hot.end();
    match waiters::release(hot, plain) {
        Release::Done => end(head),
        left => finish(head, hot, left),
    }
}

#[cold]
#[inline(never)]
fn give_one_of_several(head: &Head, hot: &Hot, plain: bool) {
    sys::unlink(head, hot);
    hot.end();
    finish(head, hot, waiters::release(hot, plain));
}

#[cold]
#[inline(never)]
fn finish(head: &Head, hot: &Hot, left: Release) {
    let wake = match left {
        Release::Done => false,
        Release::Wake => true,
        Release::Exchange => waiters::exchange(hot),
    };
    if wake {
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
