//! The cache line of a lock.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::compiler_fence;

use crate::env::{AtomicU32, AtomicU64};
use crate::owner::Owner;

/// The line of a lock: what changes with every acquisition, alone in its 64 bytes. All zero is a free lock.
///
/// The table keeps `token` and `owner`. The rest belongs to the backend and is laid out for a futex word in the kernel's robust list:
/// the node's `next` stands behind the word where the C library's mutexes have it (32 bytes with glibc, 28 with musl), and `prev`
/// before `next`. So `word` and `waiters` trade places on musl: only a backend whose stores differ there anyway may use them.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Hot {
    /// The backend's: a futex word.
    #[cfg(not(target_env = "musl"))]
    pub word: AtomicU32,
    /// The backend's: whether anybody waits, or may be about to.
    pub waiters: AtomicU32,
    /// The backend's: a futex word.
    #[cfg(target_env = "musl")]
    pub word: AtomicU32,
    pub(crate) token: AtomicU64,
    pub(crate) owner: AtomicU64,
    /// The backend's: the link to the previous node.
    pub prev: AtomicU64,
    /// The backend's: the link to the next node.
    pub next: AtomicU64,
    /// The backend's, for what it needs.
    pub spare: [AtomicU64; 3],
}

impl Hot {
    /// The owner that is written down. A dead one's word stays until the next owner comes.
    #[inline]
    pub fn owner(&self) -> Owner {
        Owner::from_word(self.owner.load(Acquire))
    }

    /// The token of the present acquisition, or the latest.
    #[inline]
    pub fn token(&self) -> u64 {
        self.token.load(Relaxed)
    }

    /// Writes the new owner down; called by it, right after it took the lock. Returns the fencing token.
    #[inline]
    pub fn begin(&self, me: Owner) -> u64 {
        let token = self.next_token();
        self.owner.store(me.word(), Relaxed);
        // The critical section comes after that, whatever kills it.
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        token
    }

    /// The same if this owner is still written down that the caller read before.
    #[inline]
    pub(crate) fn begin_instead_of(&self, before: Owner, me: Owner) -> Option<u64> {
        self.owner.compare_exchange(before.word(), me.word(), AcqRel, Relaxed).ok()?;
        let token = self.next_token();
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        Some(token)
    }

    #[inline]
    fn next_token(&self) -> u64 {
        // Nobody counts that far, but a damaged store may begin there; and here is no place to panic, with the lock taken.
        let token = self.token.load(Relaxed).wrapping_add(1);
        self.token.store(token, Relaxed);
        token
    }

    /// Removes the owner; called by it, right before it gives the lock up.
    #[inline]
    pub fn end(&self) {
        self.end_with(Owner::NONE);
    }

    /// The same, and the next owner is told that what the lock protects is inconsistent.
    pub fn end_inconsistent(&self) {
        self.end_with(Owner::INCONSISTENT);
    }

    #[inline]
    fn end_with(&self, owner: Owner) {
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        // Threads that share a handle of a kernel's lock are ordered by this store and the load in `owner`.
        self.owner.store(owner.word(), Release);
    }
}
