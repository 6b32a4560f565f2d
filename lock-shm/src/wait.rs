//! The waiters protocol: releases an uncontended lock by a plain store.
//!
//! An atomic exchange returns the [`WAITERS`] bit, but costs as much as the acquisition. A plain store may overwrite the bit, and the
//! processor may perform it after the loads that follow. So each lock has a second word, the mark, which the owner reads after its
//! store. The waiter pays for the ordering: it sets the mark, executes a memory barrier on every processor that runs a registered
//! process (`membarrier`), and only then sets the bit and sleeps. If an owner's read missed the mark, its store precedes the barrier,
//! and the waiter finds the lock free. Every later owner reads the mark.
//!
//! After the first waiter, owners release by exchange, and further waiters need no barrier. An owner that finds no waiters clears the
//! mark once in [`PLAIN_STORES_AFTER`] tokens, so that a mark which a killed waiter left is cleared in time. A waiter reads the mark
//! again after it has set the bit, and sets the mark again if an owner has cleared it.

use std::sync::atomic::Ordering::{self, Acquire, Relaxed};

use lock_table::LockLine;

use crate::env;
use crate::env::PLAIN_STORES_AFTER;
use crate::{starvation, sys};

/// Bit of the lock word: a thread sleeps or is about to. The owner, or the kernel when the owner dies, wakes one waiter.
pub(crate) const WAITERS: u32 = libc::FUTEX_WAITERS;

/// Mark: a thread is about to wait, and its barrier may not have completed.
const PENDING: u32 = 1;
/// Mark: owners release by exchange. Set by a waiter after its barrier, or by the owner.
const EXCHANGE: u32 = 2;
/// Set with every mark and never cleared. When a thread ends, musl reads the second word of each lock in its list as a mutex type, and
/// wakes waiters of other processes only if this bit marks the mutex as process-shared.
const SHARED: u32 = 128;
/// The unit of the generation of the marks. It is incremented when they are cleared, so that a waiter detects that its barrier belongs
/// to an earlier generation.
const GENERATION: u32 = 256;

/// Returns whether an owner without waiters clears the marks at this token. The interval makes the next waiter's barrier negligible.
const fn is_clearing_token(token: u64) -> bool {
    token.is_multiple_of(PLAIN_STORES_AFTER)
}

/// The step that remains after a lock was freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Wake {
    /// No thread waits.
    Nobody,
    /// A thread waits.
    OneWaiter,
    /// The lock is [reserved](starvation) for a starved thread.
    StarvedThread,
}

impl Wake {
    /// Wakes the thread.
    #[inline]
    pub(crate) fn perform(self, line: &LockLine) {
        match self {
            Self::Nobody => {}
            Self::OneWaiter => sys::wake_one(&line.word),
            Self::StarvedThread => starvation::hand_over(line),
        }
    }
}

/// The remaining step of a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// The lock is free, and no thread waits for it.
    Done,
    /// The lock is free. The caller wakes a waiter, because the mark was set in the meantime.
    Wake,
    /// The lock is still held. The caller releases it by [`exchange`].
    Exchange,
}

/// Releases a lock by a plain store if it has no mark and `plain` is true.
///
/// `plain` is true if this process is registered for [barriers](sys::barrier()).
#[inline]
pub(crate) fn release(line: &LockLine, plain: bool) -> Release {
    if !plain || is_marked(line, PENDING | EXCHANGE) {
        return Release::Exchange;
    }
    line.word.store(0, Ordering::Release);
    // A compiler fence suffices: the waiter's barrier orders the processor's store and load.
    env::light_fence();
    if is_marked(line, PENDING | EXCHANGE) { Release::Wake } else { Release::Done }
}

/// Releases a lock by an exchange. The caller performs the result.
///
/// `free` is the new word: 0, or `FUTEX_OWNER_DIED` if the next owner gets a report.
pub(crate) fn exchange(line: &LockLine, free: u32) -> Wake {
    if starvation::is_marked(line) && line.word.load(Relaxed) & WAITERS != 0 {
        starvation::reserve(line, free);
        return Wake::StarvedThread;
    }
    if is_clearing_token(line.token()) && line.word.load(Relaxed) & WAITERS == 0 {
        let marked = line.waiters.load(Relaxed);
        // The exchange below follows this store, and returns the bit if a waiter has set it since the load.
        line.waiters.store((marked & !(PENDING | EXCHANGE | starvation::MARK)).wrapping_add(GENERATION), Relaxed);
    }
    if line.word.swap(free, Ordering::Release) & WAITERS != 0 { Wake::OneWaiter } else { Wake::Nobody }
}

/// Makes the owner release by exchange. It has acquired the lock with [`WAITERS`] set, which a plain store would overwrite.
pub(crate) fn keep_mark(line: &LockLine) {
    line.waiters.fetch_or(EXCHANGE | SHARED, Ordering::Release);
}

/// The result of [`announce`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Announced {
    /// The caller may sleep while the word is this. The next release wakes a waiter.
    Guaranteed(u32),
    /// The caller may sleep while the word is this. Without barriers, the next release may miss the waiter.
    BestEffort(u32),
    /// The caller has set the bit, but the mark is cleared. Another thread may now sleep because of the bit, and the release may not
    /// wake it. The caller must wake it when it releases the lock or times out, as if it had slept itself.
    Undone,
}

/// Announces that the caller is about to sleep while the word is `present`. Returns `None` if it must read the word again first.
pub(crate) fn announce(line: &LockLine, present: u32) -> Option<Announced> {
    let sure = is_marked(line, EXCHANGE) || mark(line)?;
    let asleep = present | WAITERS;
    if present != asleep {
        // Acquire: a thread that reads the word of a release also reads that the releasing owner has cleared the mark.
        line.word.compare_exchange(present, asleep, Acquire, Relaxed).ok()?;
    }
    let announced = if sure { Announced::Guaranteed(asleep) } else { Announced::BestEffort(asleep) };
    if is_marked(line, if sure { EXCHANGE } else { PENDING | EXCHANGE }) {
        Some(announced)
    } else {
        // Another waiter may have set the bit while the same owner held the lock earlier. If it sleeps only now, it takes this bit for
        // its own.
        (present != asleep).then_some(Announced::Undone)
    }
}

/// Makes all owners release by exchange. Returns `None` if an owner cleared the mark meanwhile, and `false` without barriers.
#[cold]
fn mark(line: &LockLine) -> Option<bool> {
    let marked = line.waiters.fetch_or(PENDING | SHARED, Acquire) | PENDING | SHARED;
    if marked & EXCHANGE != 0 {
        return Some(true);
    }
    // Any thread's barrier suffices, if it follows the mark of this generation.
    if !sys::barrier() {
        return Some(false);
    }
    line.waiters.compare_exchange(marked, marked ^ PENDING ^ EXCHANGE, Ordering::Release, Relaxed).ok().map(|_| true)
}

#[inline]
fn is_marked(line: &LockLine, marks: u32) -> bool {
    line.waiters.load(Acquire) & marks != 0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use rstest::rstest;

    use super::*;
    use crate::robust::tests::{acquire_and_release, hold, lines};
    use crate::robust::{DIED, owner};

    #[rstest]
    #[case::killed_before_its_barrier(PENDING)]
    #[case::killed_after_its_barrier(EXCHANGE)]
    fn owners_clear_the_mark_of_a_killed_waiter(#[case] mark: u32) {
        let [slot] = lines();
        slot.line().waiters.fetch_or(mark, Relaxed);
        let mut releases = 0;
        while is_marked(slot.line(), PENDING | EXCHANGE) {
            acquire_and_release(&slot);
            releases += 1;
            assert!(releases <= 1024, "the mark is still set after {releases} releases");
        }
    }

    /// With glibc the kernel does this; musl does it itself.
    #[test]
    fn the_end_of_a_thread_wakes_a_waiter() {
        const WATCHDOG: Duration = Duration::from_secs(100);
        let [slot] = lines();
        let (held, is_held) = mpsc::channel();
        let waiter = format!("/proc/self/task/{}/stat", lock_table::thread::id());
        let is_asleep = || fs::read_to_string(&waiter).unwrap().contains(") S ");
        thread::scope(|scope| {
            scope.spawn(|| {
                hold(&slot);
                held.send(()).unwrap();
                while !(slot.line().word.load(Relaxed) & WAITERS != 0 && is_asleep()) {
                    thread::yield_now();
                }
            });
            is_held.recv().unwrap();
            let start = Instant::now();
            loop {
                let present = slot.line().word.load(Relaxed);
                if owner(present) == 0 {
                    break assert_ne!(present & DIED, 0);
                }
                if let Some(Announced::Guaranteed(asleep) | Announced::BestEffort(asleep)) = announce(slot.line(), present) {
                    sys::wait(&slot.line().word, asleep, starvation::class(false), WATCHDOG);
                }
                assert!(start.elapsed() < WATCHDOG, "the waiter was not woken");
            }
        });
    }
}
