//! The stand-in for lock-shm's `sys`: the calling thread, its lists, and what the kernel does when it dies.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, compiler_fence, fence};

use crate::process::Duration;
use crate::table::{Hot, Owner, Table};

#[path = "../../model/src/sys/record.rs"]
mod record;

#[allow(clippy::all, clippy::undocumented_unsafe_blocks, unreachable_pub, reason = "they are copies")]
mod list {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/sys.rs"));

    /// What lock-shm does at the end of a thread.
    pub(crate) fn end_thread() {
        mark_list(ptr::null_mut());
    }
}

#[allow(clippy::all, clippy::undocumented_unsafe_blocks, unreachable_pub, reason = "they are copies")]
mod futex {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/futex.rs"));
}

pub(crate) use self::futex::{wait, wake_one};
pub(crate) use self::list::{Head, address, end_thread, is_empty, link, link_only, unlink, unlink_only};
pub(crate) use self::record::{Occasion, can_link, forget, link_identity, unlink_identity};
use self::record::{free_record, is_last, note_another, note_none, note_only, take_neighbours};

/// From a node to its word.
const OFFSET: isize = std::mem::offset_of!(Hot, word) as isize - std::mem::offset_of!(Hot, next) as isize;

/// How many bits of these words are set.
pub(crate) fn count_ones(words: &[AtomicU64]) -> u64 {
    words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
}

/// A thread of the tests: the table, and its number there.
#[derive(Clone, Copy)]
pub(crate) struct Me {
    pub(crate) table: &'static Table,
    pub(crate) number: usize,
}

thread_local! {
    static ME: Cell<Option<Me>> = const { Cell::new(None) };
    /// The list that the kernel walks.
    static LIST: Head = const { Head::new() };
    /// The list that it does not walk.
    static IDENTITY_LIST: Head = const { Head::new() };
    static CACHE: ThreadCache = const { ThreadCache { epoch: Cell::new(1) } };
}

impl Head {
    const fn new() -> Self {
        Self { first: AtomicUsize::new(0), offset: AtomicIsize::new(OFFSET), pending: AtomicUsize::new(0) }
    }
}

/// What a thread remembers of its process.
struct ThreadCache {
    epoch: Cell<u64>,
}

/// Removes a lock from those of the calling thread that the kernel does not look after.
fn pop_identity() -> Option<usize> {
    IDENTITY_LIST.with(|list| {
        let (start, node) = (ptr::from_ref(list).addr(), list.first.load(Relaxed));
        (node != start).then(|| {
            // SAFETY: a node of this list is in a line of the table, which stays where it is.
            list.first.store(unsafe { (*(node as *const AtomicUsize)).load(Relaxed) }, Relaxed);
            node
        })
    })
}

mod fork {
    pub(super) fn epoch() -> u64 {
        1
    }
}

/// Makes the calling thread one of a table's.
pub(crate) fn begin_thread(me: Me) {
    ME.set(Some(me));
    for list in [&LIST, &IDENTITY_LIST] {
        list.with(|list| list.first.store(ptr::from_ref(list).expose_provenance(), Relaxed));
    }
}

pub(crate) fn me() -> Me {
    ME.get().expect("the thread has begun")
}

/// The calling thread.
pub(crate) struct ThisThread {
    pub(crate) id: u32,
    /// Whether its process takes part in barriers.
    pub(crate) barriers: bool,
}

impl ThisThread {
    pub(crate) fn get() -> Self {
        let Me { table, number } = me();
        Self { id: table.tid(number), barriers: table.has_barriers(number) }
    }

    pub(crate) fn try_fast() -> Option<Self> {
        Some(Self::get()).filter(|thread| thread.barriers)
    }

    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        Self::try_fast()
    }

    pub(crate) fn list(&self) -> Option<&Head> {
        // SAFETY: the thread-local value stays where it is until the thread has ended, which `self` does not outlive in the tests.
        LIST.with(|list| Some(unsafe { &*ptr::from_ref(list) }))
    }

    pub(crate) fn identity_list(&self) -> &Head {
        // SAFETY: as above.
        IDENTITY_LIST.with(|list| unsafe { &*ptr::from_ref(list) })
    }

    pub(crate) fn is_full(&self) -> bool {
        let _ = self;
        false
    }
}

/// See the build script.
pub(crate) fn barrier() -> bool {
    fence(SeqCst);
    ThisThread::get().barriers
}

/// What the kernel does when the calling thread dies: `exit_robust_list` of kernel/futex/core.c.
pub(crate) fn walk_list() {
    let me = ThisThread::get();
    LIST.with(|list| {
        let start = ptr::from_ref(list).addr();
        let mut node = list.first.load(Relaxed);
        while node != start {
            // SAFETY: a node of this list is in a line of the table, which stays where it is.
            let (next, word) = unsafe {
                ((*(node as *const AtomicUsize)).load(Relaxed), &*(node.wrapping_add_signed(OFFSET) as *const AtomicU32))
            };
            let died = |word: u32| (word & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
            let marked = word.fetch_update(AcqRel, Acquire, |word| (word & libc::FUTEX_TID_MASK == me.id).then(|| died(word)));
            if marked.is_ok_and(|word| word & libc::FUTEX_WAITERS != 0) {
                wake_one(word);
            }
            node = next;
        }
    });
}

/// Something that a lock protects. Miri reports accesses that are not ordered.
#[derive(Debug, Default)]
pub(crate) struct Protected<T>(UnsafeCell<T>);

// SAFETY: the tests access the value only while they hold the lock; that they are right is what they are for.
unsafe impl<T: Send> Sync for Protected<T> {}

impl<T> Protected<T> {
    /// Accesses the value; the caller has the lock.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: as above.
        act(unsafe { &mut *self.0.get() })
    }
}
