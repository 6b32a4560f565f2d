//! Locks that are in no robust list, because their words have an identity number instead of a thread id.

use std::ptr;

use lock_table::LockLine;

use super::cache::IDENTITIES;
use super::head::{Head, address};
use super::list::unlink;
use super::this_thread::ThisThread;

/// Records that the calling thread holds such a lock. The first argument matches that of [`link`](super::link).
pub(crate) fn link_identity(_: &Head, line: &LockLine) {
    ptr::from_ref(line).expose_provenance();
    IDENTITIES.with(|linked| linked.push(address(&line.next)));
}

/// Records that the calling thread releases such a lock.
pub(crate) fn unlink_identity(_: &Head, line: &LockLine) {
    let node = address(&line.next);
    let known = IDENTITIES.with(|linked| linked.remove(node)).is_some();
    // The caller chose the list by the lock word. The word is in shared memory and may have been overwritten.
    if !known && let Some(list) = ThisThread::get().list() {
        unlink(list, line);
    }
}

/// Unlinks a lock that the calling thread has lost. Another thread may already own it.
pub(crate) fn forget(line: &LockLine) {
    let thread = ThisThread::get();
    match thread.list() {
        Some(list) => unlink(list, line),
        None => _ = IDENTITIES.with(|linked| linked.remove(address(&line.next))),
    }
}
