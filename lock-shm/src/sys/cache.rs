//! What a thread keeps in private memory: facts about itself, and the locks that it has linked.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

use lock_table::Hot;
use lock_table::fork;

use super::head::{Head, OFFSET, address, is_empty, untagged};
use crate::linked::Linked;

/// Locks of a thread that are put into libc's list. The kernel walks 2,048 nodes, which are libc's and these together: the
/// thread's other robust mutexes need some.
pub(super) const LINKED_AT_MOST: u32 = 1000;

/// What a thread remembers of itself. Cells, because a value of several words that is copied as a whole is slow to read right after it
/// was written.
pub(super) struct ThreadCache {
    /// The process that the other cells were set in, see [`fork::epoch`].
    pub(super) epoch: Cell<u64>,
    pub(super) id: Cell<u32>,
    /// Its list, where [`barrier`](super::barrier()) works, its process takes part in it, and there is room in the list.
    pub(super) fast: Cell<Option<NonNull<Head>>>,
    /// Its list.
    pub(super) head: Cell<Option<NonNull<Head>>>,
    /// Whether its process takes part in barriers.
    pub(super) barriers: Cell<bool>,
    /// The locks in the list.
    pub(super) linked: Linked,
}

impl ThreadCache {
    /// Takes the fast path away from a thread whose list is full, and gives it back.
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
    /// Locks that the kernel must not look after, because the words have no thread id.
    pub(super) static IDENTITIES: Linked = const { Linked::new() };
    /// What such a lock has in the place of the kernel's list. No node is linked into it.
    pub(super) static IDENTITY_LIST: Head =
        const { Head { first: AtomicUsize::new(0), offset: AtomicIsize::new(OFFSET), pending: AtomicUsize::new(0) } };
}

/// Whether a node can be put at the start of the calling thread's list: there is none, or the first is a lock that this thread has linked.
///
/// A node of libc's is written to by libc alone, except that the lock before it would have to write to it when it leaves. Where that node
/// is, only the lock's own links would tell, which are in shared memory. So no lock is put before a mutex of libc's.
pub(crate) fn can_link(head: &Head) -> bool {
    is_empty(head) || CACHE.with(|cache| cache.linked.top() == head.first.load(Relaxed))
}

/// Notes that a node was put into the list, which was empty.
#[inline]
pub(super) fn note_only(node: usize) {
    CACHE.with(|cache| cache.linked.set_only(node));
}

/// Notes that a node was put into the list, which has others.
#[cold]
pub(super) fn note_another(node: usize) {
    CACHE.with(|cache| {
        cache.linked.push(node);
        cache.update_fast();
    });
}

/// Notes that the only node was taken out of the list.
#[inline]
pub(super) fn note_none() {
    CACHE.with(|cache| cache.linked.remove_only());
}

/// Whether nothing comes after this node, which is the first one.
#[inline]
pub(super) fn is_last(_: &Head, _: &Hot) -> bool {
    CACHE.with(|cache| cache.linked.below() == 0)
}

/// Removes a node from the thread's record. Returns what the list has before and after it.
pub(super) fn take_neighbours(head: &Head, hot: &Hot) -> Option<(usize, usize)> {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let beside = CACHE.with(|cache| {
        let beside = cache.linked.remove(node);
        cache.update_fast();
        beside
    });
    let Some(beside) = beside else {
        // The lock's word, which is in shared memory, misled the caller.
        IDENTITIES.with(|linked| linked.remove(node));
        return None;
    };
    let prev = beside.above.or_else(|| before(head, node))?;
    Some((prev, beside.below.unwrap_or(start)))
}

/// What the list has before the latest lock of this thread: the head, or the last of the mutexes that libc has put before it.
fn before(head: &Head, node: usize) -> Option<usize> {
    /// More than a thread can have.
    const MUTEXES: u32 = 1 << 20;
    let (mut prev, mut next) = (ptr::from_ref(head).addr(), untagged(head.first.load(Relaxed)));
    for _ in 0..MUTEXES {
        if next == node {
            return Some(prev);
        }
        // SAFETY: the nodes before the latest lock are mutexes of libc's that the thread holds, and so mapped. The link to the
        // first is in private memory, and that to each further one in such a mutex.
        (prev, next) = (next, untagged(unsafe { (*(next as *const AtomicUsize)).load(Relaxed) }));
    }
    None
}

/// Removes a lock from those that the kernel does not look after.
pub(super) fn pop_identity() -> Option<usize> {
    IDENTITIES.with(Linked::pop)
}

/// Frees the record's memory, if the thread holds no lock any more.
pub(super) fn free_record() {
    CACHE.with(|cache| cache.linked.free());
    IDENTITIES.with(Linked::free);
}

/// Whether the record is that of this process. In a forked child that has not used it since, it is the parent's.
pub(super) fn is_current() -> bool {
    CACHE.with(|cache| cache.epoch.get()) == fork::epoch()
}
