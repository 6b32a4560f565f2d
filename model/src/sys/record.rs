//! The stand-in for what a thread of lock-shm records in private memory. `lock-weak` has it, too.

use super::*;

/// No thread has a mutex of libc's.
pub(crate) fn can_link(_: &Head) -> bool {
    true
}

pub(super) fn note_only(_: usize) {}

pub(super) fn note_another(_: usize) {}

pub(super) fn note_none() {}

/// Nobody writes to the links but the thread itself, so that they say what lock-shm keeps in private memory.
pub(super) fn is_last(head: &Head, hot: &Hot) -> bool {
    hot.next.load(Relaxed) as usize == ptr::from_ref(head).addr()
}

pub(super) fn take_neighbours(head: &Head, hot: &Hot) -> Option<(usize, usize)> {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let next = hot.next.load(Relaxed) as usize;
    let prev = if head.first.load(Relaxed) == node { start } else { hot.prev.load(Relaxed) as usize };
    Some((prev, next))
}

pub(crate) fn link_identity(list: &Head, hot: &Hot) {
    link(list, hot);
}

pub(crate) fn unlink_identity(list: &Head, hot: &Hot) {
    unlink(list, hot);
}

pub(super) fn free_record() {}

/// No thread changes what says that a lock is another's.
pub(crate) fn forget(_: &Hot) {}

/// It is always time.
#[derive(Debug, Default)]
pub(crate) struct Occasion;

impl Occasion {
    pub(crate) fn is_due(&self, _: u64) -> bool {
        true
    }
}
