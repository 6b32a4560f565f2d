//! The stand-in for what a thread of lock-shm keeps in private memory: the links say the same, because only the thread itself writes
//! to them.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use super::head::{Head, address};
use super::this_thread::ThisThread;
use crate::env::link_target;
use crate::lock_line::Hot;

/// No thread has a mutex of libc's.
pub(crate) fn can_link(_: &Head) -> bool {
    true
}

pub(super) fn note_only(_: usize) {}

pub(super) fn note_another(_: usize) {}

pub(super) fn note_none() {}

pub(super) fn is_last(head: &Head, hot: &Hot) -> bool {
    hot.next.load(Relaxed) as usize == ptr::from_ref(head).addr()
}

pub(super) fn take_neighbours(head: &Head, hot: &Hot) -> Option<(usize, usize)> {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let next = hot.next.load(Relaxed) as usize;
    let prev = if head.first.load(Relaxed) == node { start } else { hot.prev.load(Relaxed) as usize };
    Some((prev, next))
}

/// Removes a lock from those of the calling thread that the kernel does not look after.
pub(super) fn pop_identity() -> Option<usize> {
    let thread = ThisThread::get();
    let list = thread.identity_list();
    let (start, node) = (ptr::from_ref(list).addr(), list.first.load(Relaxed));
    (node != start).then(|| {
        // SAFETY: a node of this list is in a line of the table, which is never freed.
        list.first.store(unsafe { (*link_target(node)).load(Relaxed) }, Relaxed);
        node
    })
}

pub(super) fn free_record() {}

/// No process forks.
pub(super) fn is_current() -> bool {
    true
}
