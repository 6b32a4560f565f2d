//! Private memory of a thread: cached facts about the thread, and the record of the locks that it has linked.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

use lock_table::LockLine;
use lock_table::fork;

use super::head::{Head, OFFSET, address, is_empty, untagged};
use crate::linked::Linked;

/// Maximum number of locks that a thread links into its robust list.
///
/// The kernel walks at most 2,048 entries (`ROBUST_LIST_LIMIT`). The rest is left to the thread's other robust mutexes.
pub(super) const LINKED_AT_MOST: u32 = 1000;

/// Cached facts about a thread.
///
/// Each field is a separate cell: a value of several words that is copied as a whole is slow to read right after a write.
pub(super) struct ThreadCache {
    /// The [fork epoch](fork::epoch) in which the other fields were set.
    pub(super) epoch: Cell<u64>,
    pub(super) id: Cell<u32>,
    /// The robust list, if it has room and the process is registered for [barriers](super::barrier()).
    pub(super) fast: Cell<Option<NonNull<Head>>>,
    /// The robust list.
    pub(super) head: Cell<Option<NonNull<Head>>>,
    /// Whether the process is registered for barriers.
    pub(super) barriers: Cell<bool>,
    /// The locks in the robust list.
    pub(super) linked: Linked,
}

impl ThreadCache {
    /// Enables the fast path if the robust list has room, and disables it otherwise.
    fn update_fast(&self) {
        let has_room = self.linked.below() < LINKED_AT_MOST;
        self.fast.set(self.head.get().filter(|_| self.barriers.get() && has_room));
    }
}

thread_local! {
    pub(super) static CACHE: ThreadCache = const {
        ThreadCache {
            epoch: Cell::new(0),
            id: Cell::new(0),
            fast: Cell::new(None),
            head: Cell::new(None),
            barriers: Cell::new(false),
            linked: Linked::new(),
        }
    };
    /// The held locks whose words have an identity number. The kernel does not recognize these numbers, so they are in no robust list.
    pub(super) static IDENTITIES: Linked = const { Linked::new() };
    /// A list head for such locks in place of the kernel's. No entry is linked into it.
    pub(super) static IDENTITY_LIST: Head =
        const { Head { first: AtomicUsize::new(0), offset: AtomicIsize::new(OFFSET), pending: AtomicUsize::new(0) } };
}

/// Returns whether an entry can be linked at the start of the calling thread's robust list.
///
/// It can if the list is empty or its first entry is a lock that this thread has linked. No lock is linked before a libc mutex: to
/// unlink the lock, the thread would have to write to the mutex, and only the lock's link, which is in shared memory, leads to it.
pub(crate) fn can_link(head: &Head) -> bool {
    is_empty(head) || CACHE.with(|cache| cache.linked.top() == head.first.load(Relaxed))
}

/// Records an entry that is linked into an empty list.
#[inline]
pub(super) fn record_only(node: usize) {
    CACHE.with(|cache| cache.linked.set_only(node));
}

/// Records an entry that is linked before others.
#[cold]
pub(super) fn record_another(node: usize) {
    CACHE.with(|cache| {
        cache.linked.push(node);
        cache.update_fast();
    });
}

/// Records that the only entry was unlinked.
#[inline]
pub(super) fn record_none() {
    CACHE.with(|cache| cache.linked.remove_only());
}

/// Returns whether the first entry of the list is also the last one that this thread has linked.
#[inline]
pub(super) fn is_last(_: &Head, _: &LockLine) -> bool {
    CACHE.with(|cache| cache.linked.below() == 0)
}

/// Removes an entry from the thread's record. Returns the addresses of the previous and the next entry in the list.
pub(super) fn take_neighbours(head: &Head, line: &LockLine) -> Option<(usize, usize)> {
    let (start, node) = (ptr::from_ref(head).addr(), address(&line.next));
    let beside = CACHE.with(|cache| {
        let beside = cache.linked.remove(node);
        cache.update_fast();
        beside
    });
    let Some(beside) = beside else {
        // The caller chose the list by the lock word. The word is in shared memory and may have been overwritten.
        IDENTITIES.with(|linked| linked.remove(node));
        return None;
    };
    let prev = beside.above.or_else(|| before(head, node))?;
    Some((prev, beside.below.unwrap_or(start)))
}

/// Returns what precedes this thread's latest lock in the list: the head, or the last of the libc mutexes that were linked after it.
fn before(head: &Head, node: usize) -> Option<usize> {
    /// Upper bound of the number of mutexes, so that the loop ends.
    const MUTEXES: u32 = 1 << 20;
    let (mut prev, mut next) = (ptr::from_ref(head).addr(), untagged(head.first.load(Relaxed)));
    for _ in 0..MUTEXES {
        if next == node {
            return Some(prev);
        }
        // SAFETY: all entries before the latest lock are libc mutexes that this thread holds, so they are mapped. The link to the
        // first is in the head, which is private memory, and the link to each further one is in such a mutex.
        (prev, next) = (next, untagged(unsafe { (*(next as *const AtomicUsize)).load(Relaxed) }));
    }
    None
}

/// Removes the latest of the held locks with an identity number, and returns its entry.
pub(super) fn pop_identity() -> Option<usize> {
    IDENTITIES.with(Linked::pop)
}

/// Frees the memory of the thread's records if they are empty.
pub(super) fn free_record() {
    CACHE.with(|cache| cache.linked.free());
    IDENTITIES.with(Linked::free);
}

/// Returns whether the record is this process's own. In a forked child, it is the parent's until the first use.
pub(super) fn is_current() -> bool {
    CACHE.with(|cache| cache.epoch.get()) == fork::epoch()
}
