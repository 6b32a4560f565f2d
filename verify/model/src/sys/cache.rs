//! The stand-in for the private record of a thread's locks in lock-shm.
//!
//! It reads the links instead, because in the model only the thread itself writes to them.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use super::head::{Head, address};
use super::this_thread::ThisThread;
use crate::env::link_target;
use crate::lock_line::LockLine;

/// Returns true, because no simulated thread holds a libc mutex.
pub(crate) fn can_link(_: &Head) -> bool {
    true
}

pub(super) fn record_only(_: usize) {}

pub(super) fn record_another(_: usize) {}

pub(super) fn record_none() {}

pub(super) fn is_last(head: &Head, line: &LockLine) -> bool {
    line.next.load(Relaxed) as usize == ptr::from_ref(head).addr()
}

pub(super) fn take_neighbours(head: &Head, line: &LockLine) -> Option<(usize, usize)> {
    let (start, node) = (ptr::from_ref(head).addr(), address(&line.next));
    let next = line.next.load(Relaxed) as usize;
    let prev = if head.first.load(Relaxed) == node { start } else { line.prev.load(Relaxed) as usize };
    Some((prev, next))
}

/// Removes the latest of the calling thread's locks with an identity number, and returns its entry.
pub(super) fn pop_identity() -> Option<usize> {
    let thread = ThisThread::get();
    let list = thread.identity_list();
    let (start, node) = (ptr::from_ref(list).addr(), list.first.load(Relaxed));
    (node != start).then(|| {
        // SAFETY: an entry of this list is part of a lock of the table, which is never freed.
        list.first.store(unsafe { (*link_target(node)).load(Relaxed) }, Relaxed);
        node
    })
}

pub(super) fn free_record() {}

/// Returns true, because no simulated process forks.
pub(super) fn is_current() -> bool {
    true
}
