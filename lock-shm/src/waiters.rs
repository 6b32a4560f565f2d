//! Whether a lock has waiters: what makes releasing a lock that nobody waits for a plain store.
//!
//! A release that is an atomic exchange sees the bit [`WAITERS`] of whoever came before it; it costs as much as taking the lock. A plain
//! store may write over that bit, because the processor may do the store later than what follows it. So the line has a second word,
//! which the owner reads after its store, and whoever wants to wait pays for the order: it marks this word, has every processor that
//! runs a program with a store go through a barrier (`membarrier`), and only then sets the bit and sleeps. An owner that had not seen
//! the mark when the barrier came has stored before, so that the waiter finds the lock free; every later one sees the mark.
//!
//! From the first waiter on, releases are by exchange, and further waiters need no barrier. An owner goes back to plain stores when it
//! finds nobody waiting, at a token that comes round now and then; so a mark that a killed waiter left is gone after a while. A
//! waiter looks at the mark once more after it set the bit: if it is gone, the waiter makes it anew.

use std::sync::atomic::Ordering::{self, Acquire, Relaxed};

use lock_table::Hot;

use crate::env;
use crate::env::PLAIN_STORES_AFTER;
use crate::sys;

/// Somebody sleeps, or may be about to: whoever releases the lock wakes one. A bit of the lock word, for the kernel too.
pub(crate) const WAITERS: u32 = libc::FUTEX_WAITERS;

/// Somebody is about to wait, and the barrier may still be to come.
const COMING: u32 = 1;
/// Releases are by exchange: the barrier has been, or the owner itself has said so.
const EXCHANGE: u32 = 2;
/// Set with every mark, and never cleared. When a thread of musl ends, musl takes the second word of each lock in its list for the type
/// of a mutex, and wakes waiters of other processes only if this bit says that the mutex is process-shared.
const SHARED: u32 = 128;
/// Which time it is that the marks are made; counted up when they are taken away, so that nobody's barrier is taken for a later one.
const ROUND: u32 = 256;

/// Whether owners go back to plain stores at this token. Rarely enough that the next waiter's barrier does not count.
const fn comes_round(token: u64) -> bool {
    token.is_multiple_of(PLAIN_STORES_AFTER)
}

/// What is left to do for who releases a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// The lock is free, and nobody waited.
    Done,
    /// The lock is free; somebody came meanwhile.
    Wake,
    /// The lock is to be made free by [`exchange`].
    Exchange,
}

/// Makes the lock free by a plain store, if nobody waits; `plain` when this process takes part in barriers.
#[inline]
pub(crate) fn release(hot: &Hot, plain: bool) -> Release {
    if !plain || is_marked(hot, COMING | EXCHANGE) {
        return Release::Exchange;
    }
    hot.word.store(0, Ordering::Release);
    // No fence for the processor: that is what the barrier of who makes the mark is for.
    env::light_fence();
    if is_marked(hot, COMING | EXCHANGE) { Release::Wake } else { Release::Done }
}

/// Makes the lock free, with this word: 0, or one that says that its next owner is told something. Says whether a waiter is to be
/// woken.
pub(crate) fn exchange(hot: &Hot, free: u32) -> bool {
    if comes_round(hot.token()) && hot.word.load(Relaxed) & WAITERS == 0 {
        let marked = hot.waiters.load(Relaxed);
        // The exchange comes after it, and finds the bit of whoever has set it meanwhile.
        hot.waiters.store((marked & !(COMING | EXCHANGE)).wrapping_add(ROUND), Relaxed);
    }
    hot.word.swap(free, Ordering::Release) & WAITERS != 0
}

/// The owner, having taken the lock with [`WAITERS`] in the word, must not write over it.
pub(crate) fn keep(hot: &Hot) {
    hot.waiters.fetch_or(EXCHANGE | SHARED, Ordering::Release);
}

/// What a waiter may wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Announced {
    /// The word is this, and whoever releases the lock sees that somebody waits.
    Surely(u32),
    /// The word is this, but there is no barrier in this system: a release may miss that somebody waits.
    Perhaps(u32),
    /// The mark is gone, and somebody may sleep now because of the bit, whom the release of the lock will not wake: that is for the
    /// caller to do, as if it had slept itself.
    InVain,
}

/// Says that the caller is about to sleep while the word is `present`; `None` when it is to look again first.
pub(crate) fn announce(hot: &Hot, present: u32) -> Option<Announced> {
    let sure = is_marked(hot, EXCHANGE) || mark(hot)?;
    let asleep = present | WAITERS;
    if present != asleep {
        // Who has taken the mark away before it released the lock is seen to have done so by whoever sees the release.
        hot.word.compare_exchange(present, asleep, Acquire, Relaxed).ok()?;
    }
    let announced = if sure { Announced::Surely(asleep) } else { Announced::Perhaps(asleep) };
    if is_marked(hot, if sure { EXCHANGE } else { COMING | EXCHANGE }) {
        Some(announced)
    } else {
        // Another waiter, in an earlier tenure of the same owner, may have set the bit, and may sleep only now, taking this one for its
        // own.
        (present != asleep).then_some(Announced::InVain)
    }
}

/// Has all owners release by exchange. `None` when that was undone meanwhile, `false` when it cannot be known.
#[cold]
fn mark(hot: &Hot) -> Option<bool> {
    let coming = hot.waiters.fetch_or(COMING | SHARED, Acquire) | COMING | SHARED;
    if coming & EXCHANGE != 0 {
        return Some(true);
    }
    // Whose barrier it is does not matter, but that it comes after the mark of this round.
    if !sys::barrier() {
        return Some(false);
    }
    hot.waiters.compare_exchange(coming, coming ^ COMING ^ EXCHANGE, Ordering::Release, Relaxed).ok().map(|_| true)
}

#[inline]
fn is_marked(hot: &Hot, marks: u32) -> bool {
    hot.waiters.load(Acquire) & marks != 0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use rstest::rstest;

    use super::*;
    use crate::robust::tests::{hold, lines, take_and_give};
    use crate::robust::{DIED, owner};

    #[rstest]
    #[case::by_who_never_came_to_its_barrier(COMING)]
    #[case::by_who_is_gone(EXCHANGE)]
    fn a_mark_that_was_left_goes_away(#[case] mark: u32) {
        let [slot] = lines();
        slot.hot().waiters.fetch_or(mark, Relaxed);
        let mut releases = 0;
        while is_marked(slot.hot(), COMING | EXCHANGE) {
            take_and_give(&slot);
            releases += 1;
            assert!(releases <= 1024, "every release would look for waiters for ever");
        }
    }

    /// The kernel does that for one C library, and the other one does it itself.
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
                while !(slot.hot().word.load(Relaxed) & WAITERS != 0 && is_asleep()) {
                    thread::yield_now();
                }
            });
            is_held.recv().unwrap();
            let start = Instant::now();
            loop {
                let present = slot.hot().word.load(Relaxed);
                if owner(present) == 0 {
                    break assert_ne!(present & DIED, 0);
                }
                if let Some(Announced::Surely(asleep) | Announced::Perhaps(asleep)) = announce(slot.hot(), present) {
                    sys::wait(&slot.hot().word, asleep, WATCHDOG);
                }
                assert!(start.elapsed() < WATCHDOG, "it was not woken");
            }
        });
    }
}
