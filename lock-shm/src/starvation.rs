//! Fairness: a lock that a starved thread waits for is released for that thread.
//!
//! An owner that immediately locks again acquires a free lock before a woken waiter runs. So a thread that has waited for
//! [a millisecond](lock_table::Waiting::patience) is *starved*. It sets a mark, and sleeps in another class than other waiters. An owner that finds the
//! mark releases the lock *reserved*: the word has `FUTEX_WAITERS` but no owner, so that attempts to acquire a free lock fail. The owner
//! then wakes the starved thread that has slept longest. If there is none, it clears the mark and frees the lock.
//!
//! A starved thread acquires a reserved lock without a delay. Other threads leave the lock to it for a bounded time, because the woken thread may
//! have been killed: a waiter until it is starved itself, and an attempt that does not wait until the
//! [reservation ends](env::has_ended).
//!
//! The mark and the reservation affect only the order of owners. Each of them may be lost or left behind, and the lock still works.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use lock_table::LockLine;

use crate::env::AtomicU64;
use crate::{env, sys};

/// Mark in the second word: a starved thread waits. The other bits of the word belong to [`wait`](crate::wait).
pub(crate) const MARK: u32 = 4;

/// The class of sleeping threads that are not starved.
const PATIENT: u32 = 1;
/// The class of sleeping threads that are starved.
const STARVED: u32 = 2;

/// Returns the class of a sleeping thread.
pub(crate) const fn class(is_starved: bool) -> u32 {
    if is_starved { STARVED } else { PATIENT }
}

/// Marks the lock as one that a starved thread waits for. That thread calls this before each sleep.
pub(crate) fn mark(line: &LockLine) {
    if !is_marked(line) {
        line.waiters.fetch_or(MARK, Relaxed);
    }
}

pub(crate) fn is_marked(line: &LockLine) -> bool {
    line.waiters.load(Relaxed) & MARK != 0
}

/// Releases a lock for a starved thread. The caller then [hands it over](hand_over).
///
/// `free` is the word of the lock without the reservation. The word has `FUTEX_WAITERS`.
pub(crate) fn reserve(line: &LockLine, free: u32) {
    start(line).store(env::reservation(), Relaxed);
    line.word.store(free | libc::FUTEX_WAITERS, Release);
}

/// Wakes the thread that a lock is reserved for. Frees the lock if no starved thread sleeps.
pub(crate) fn hand_over(line: &LockLine) {
    if sys::wake_one_of(&line.word, STARVED) {
        return;
    }
    // Starved threads that are awake set the mark again before they sleep.
    line.waiters.fetch_and(!MARK, Relaxed);
    let present = line.word.load(Relaxed);
    // A thread that has acquired the lock in the meantime has set `FUTEX_WAITERS`, so it wakes a waiter itself.
    let has_owner = present & libc::FUTEX_TID_MASK != 0;
    if !has_owner && line.word.compare_exchange(present, present & !libc::FUTEX_WAITERS, Release, Relaxed).is_ok() {
        sys::wake_one(&line.word);
    }
}

/// Returns true if a lock without an owner is reserved. `present` is its word.
pub(crate) fn is_reserved(line: &LockLine, present: u32) -> bool {
    present & libc::FUTEX_WAITERS != 0 && !env::has_ended(start(line).load(Acquire))
}

/// Returns the word with the time of the latest reservation.
fn start(line: &LockLine) -> &AtomicU64 {
    &line.spare[1]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lock_core::{Acquired, Deadline, RawLock};
    use rstest::rstest;

    use super::*;
    use crate::env::RESERVATION;
    use crate::lock::ShmLock;
    use crate::robust::tests::{hold, lines};
    use crate::robust::{DIED, release, release_inconsistent};
    use crate::sys::ThisThread;

    /// Returns whether an attempt acquires the lock, which is then released.
    fn try_lock(lock: &ShmLock, line: &LockLine) -> bool {
        let is_acquired = lock.acquire(Deadline::Now).unwrap() != Acquired::TimedOut;
        if is_acquired {
            let thread = ThisThread::get();
            release(thread.list().unwrap(), line, thread.barriers);
        }
        is_acquired
    }

    /// Sets the words as a waiter does before its sleep.
    fn wait_starved(line: &LockLine) {
        mark(line);
        crate::wait::announce(line, line.word.load(Relaxed)).unwrap();
    }

    #[test]
    fn a_release_for_killed_starved_threads_frees_the_lock_and_clears_their_mark() {
        let [slot] = lines();
        let thread = hold(&slot);
        wait_starved(slot.line());
        release(thread.list().unwrap(), slot.line(), thread.barriers);
        assert_eq!((slot.line().word.load(Relaxed), is_marked(slot.line())), (0, false));
    }

    #[test]
    fn a_death_is_kept_when_the_lock_is_released_for_starved_threads() {
        let [slot] = lines();
        let thread = hold(&slot);
        wait_starved(slot.line());
        release_inconsistent(thread.list(), slot.line(), || slot.line().clear_owner_inconsistent());
        assert_eq!((slot.line().word.load(Relaxed), is_marked(slot.line())), (DIED, false));
    }

    #[rstest]
    #[case::consistent(0)]
    #[case::after_a_death(DIED)]
    fn an_attempt_finds_a_reserved_lock_busy_until_the_reservation_ends(#[case] free: u32) {
        let [slot] = lines();
        let lock = ShmLock::new(slot.table().slot(slot.id()).unwrap());
        let is_acquired = |reserved: u64| {
            reserve(slot.line(), free);
            start(slot.line()).store(reserved, Relaxed);
            try_lock(&lock, slot.line())
        };
        // This thread may be stopped until the reservation has ended.
        assert!(
            (0..1000).any(|_| !is_acquired(env::reservation())),
            "a reserved lock is acquired by a thread that is not starved"
        );
        assert!(is_acquired(env::reservation() - RESERVATION.as_nanos() as u64));
        assert!(is_acquired(0));
        let of_another_clock = env::reservation() + Duration::from_secs(3600).as_nanos() as u64;
        assert!(is_acquired(of_another_clock), "a reservation that begins in the future is taken seriously");
    }
}
