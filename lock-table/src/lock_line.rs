//! The cache line of a lock.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::compiler_fence;

use crate::env::{AtomicU32, AtomicU64};
use crate::owner::Owner;

/// The cache line of a lock: 64 bytes with the fields that change at each acquisition.
///
/// All zeros are a free lock.
///
/// The table uses `token` and `owner`, and the backend uses the other fields. The layout suits a futex word in the kernel's robust list
/// (get_robust_list(2)), whose nodes have the same offsets as the mutexes of the C library: `next` follows the word at a distance of 32
/// bytes with glibc and 28 bytes with musl, and `prev` precedes `next`. Therefore `word` and `waiters` are exchanged on musl. A backend
/// that uses them must have different ABIs for glibc and musl.
#[repr(C)]
#[derive(Debug, Default)]
pub struct LockLine {
    /// A futex word of the backend.
    #[cfg(not(target_env = "musl"))]
    pub word: AtomicU32,
    /// A word of the backend for its waiters: whether a thread waits or is about to wait.
    pub waiters: AtomicU32,
    /// A futex word of the backend.
    #[cfg(target_env = "musl")]
    pub word: AtomicU32,
    pub(crate) token: AtomicU64,
    pub(crate) owner: AtomicU64,
    /// A word of the backend: the link to the previous node.
    pub prev: AtomicU64,
    /// A word of the backend: the link to the next node.
    pub next: AtomicU64,
    /// Words of the backend without a fixed use.
    pub spare: [AtomicU64; 3],
}

impl LockLine {
    /// Returns the recorded owner. The word of a dead owner remains until the next owner replaces it.
    #[inline]
    pub fn owner(&self) -> Owner {
        Owner::from_word(self.owner.load(Acquire))
    }

    /// Returns the token of the latest acquisition.
    #[inline]
    pub fn token(&self) -> u64 {
        self.token.load(Relaxed)
    }

    /// Records the calling thread as the owner, and returns the fencing token.
    ///
    /// The caller has just acquired the lock.
    #[inline]
    pub fn record_owner(&self, me: Owner) -> u64 {
        let token = self.next_token();
        // Release: a thread that reads this owner also reads its token.
        self.owner.store(me.word(), Release);
        // Keeps the critical section after the store, so that a thread that is killed in it is recorded as the owner.
        compiler_fence(SeqCst);
        token
    }

    /// Records the calling thread as the owner as [`LockLine::record_owner`] does, if `before` is still recorded.
    #[inline]
    pub(crate) fn replace_owner(&self, before: Owner, me: Owner) -> Option<u64> {
        // A thread that reads this owner also reads its token, as in `record_owner`. Of several threads that replace `before`, those that
        // fail waste a token.
        let mut token = self.token.fetch_add(1, Relaxed).wrapping_add(1);
        self.owner.compare_exchange(before.word(), me.word(), AcqRel, Relaxed).ok()?;
        if self.token() != token {
            token = self.token.fetch_add(1, Relaxed).wrapping_add(1);
        }
        compiler_fence(SeqCst);
        Some(token)
    }

    /// Acquires a lock that is the recorded owner, if `before` is still recorded. Returns the fencing token.
    ///
    /// `before` is none, or [broken](Owner::is_broken). Only the new owner changes the token, after the exchange. So a thread that reads the
    /// new owner may read the token of the owner before.
    #[inline]
    pub fn acquire_owner(&self, before: Owner, me: Owner) -> Option<u64> {
        self.owner.compare_exchange(before.word(), me.word(), AcqRel, Relaxed).ok()?;
        let token = self.next_token();
        compiler_fence(SeqCst);
        Some(token)
    }

    /// Frees a lock that is the recorded owner, if `owner` is still recorded. The word of the owner remains, marked as broken.
    pub fn break_owner(&self, owner: Owner) -> bool {
        self.owner.compare_exchange(owner.word(), owner.broken().word(), SeqCst, Relaxed).is_ok()
    }

    #[inline]
    fn next_token(&self) -> u64 {
        // The token of a damaged store may overflow. A panic here would leave the lock held.
        let token = self.token.load(Relaxed).wrapping_add(1);
        self.token.store(token, Relaxed);
        token
    }

    /// Removes the recorded owner. The owner calls this immediately before it releases the lock.
    #[inline]
    pub fn clear_owner(&self) {
        self.set_owner(Owner::NONE);
    }

    /// Removes the recorded owner as [`LockLine::clear_owner`] does, and records that the protected data is inconsistent.
    pub fn clear_owner_inconsistent(&self) {
        self.set_owner(Owner::INCONSISTENT);
    }

    #[inline]
    fn set_owner(&self, owner: Owner) {
        compiler_fence(SeqCst);
        // With file locks and semaphores, this store and the load in `owner` order the critical sections of threads of one process.
        self.owner.store(owner.word(), Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way to record an owner that depends on the one before.
    type Replace = fn(&LockLine, Owner, Owner) -> Option<u64>;

    #[test]
    fn of_two_threads_that_have_read_the_same_owner_one_replaces_it() {
        let [a, b, c] = [1, 2, 3].map(Owner::from_word);
        for replace in [LockLine::replace_owner as Replace, LockLine::acquire_owner] {
            let line = LockLine::default();
            assert_eq!(replace(&line, Owner::NONE, a), Some(1));
            assert_eq!((replace(&line, Owner::NONE, b), line.owner()), (None, a));
            let token = replace(&line, a, c);
            assert!(token > Some(1) && token == Some(line.token()) && line.owner() == c);
        }
    }

    #[test]
    fn a_failed_attempt_to_acquire_a_lock_that_is_its_owner_leaves_the_token() {
        let (line, [a, b]) = (LockLine::default(), [1, 2].map(Owner::from_word));
        assert_eq!((line.acquire_owner(Owner::NONE, a), line.acquire_owner(Owner::NONE, b)), (Some(1), None));
        assert_eq!(line.token(), 1);
        assert!(line.break_owner(a) && !line.break_owner(a));
        assert_eq!((line.acquire_owner(a, b), line.acquire_owner(a.broken(), b)), (None, Some(2)));
    }
}
