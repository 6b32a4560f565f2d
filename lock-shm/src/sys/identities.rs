//! Locks that the kernel does not look after, because their words have no thread id.

use std::ptr;

use lock_table::Hot;

use super::cache::IDENTITIES;
use super::head::{Head, address};
use super::list::unlink;
use super::this_thread::ThisThread;

/// Notes that the calling thread holds a lock that the kernel does not look after. The second argument is the list of [`link`](super::link).
pub(crate) fn link_identity(_: &Head, hot: &Hot) {
    ptr::from_ref(hot).expose_provenance();
    IDENTITIES.with(|linked| linked.push(address(&hot.next)));
}

/// Notes that the calling thread gives such a lock back.
pub(crate) fn unlink_identity(_: &Head, hot: &Hot) {
    let node = address(&hot.next);
    let known = IDENTITIES.with(|linked| linked.remove(node)).is_some();
    // The lock's word, which is in shared memory, may have misled the caller.
    if !known && let Some(list) = ThisThread::get().list() {
        unlink(list, hot);
    }
}

/// Takes a line's node out of whatever the calling thread has linked it into. The thread has lost the lock, which may be another's.
pub(crate) fn forget(hot: &Hot) {
    let thread = ThisThread::get();
    match thread.list() {
        Some(list) => unlink(list, hot),
        None => _ = IDENTITIES.with(|linked| linked.remove(address(&hot.next))),
    }
}
