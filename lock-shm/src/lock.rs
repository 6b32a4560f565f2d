use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use lock_core::table::{Owner, Slot};
use lock_core::{Acquired, Deadline, Error, ErrorKind, Generation, Holder, Proof, RawLock, Result};

use crate::robust::{self, DIED};
use crate::sys::{self, Head, ThisThread};
use crate::waiters::{Announced, WAITERS, announce};

/// Looks at a lock that is held this many times before it sleeps.
const SPINS: u32 = 100;

/// The longest sleep. Whoever sleeps that long looks whether the owner lives; and should a wake-up be lost because both the owner and
/// the waiter that it woke were killed, others wait no longer than this.
const SLEEP: Duration = Duration::from_millis(200);

/// The longest sleep of who cannot be sure to be woken, in a system without barriers.
const BLIND: Duration = Duration::from_millis(1);

/// The first sleep of who doubts a death; it grows.
const DOUBT: Duration = Duration::from_micros(200);

/// A lock: a line of the table, whose word is a robust futex.
#[derive(Debug)]
pub(crate) struct ShmLock {
    slot: Slot,
}

impl ShmLock {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot }
    }

    #[cold]
    fn acquire_slowly(&self, me: Owner, head: &Head, deadline: Deadline) -> Result<Acquired> {
        let word = &self.slot.hot().word;
        let mut spins = 0;
        let mut doubts = 0_u32;
        // Once it has slept it cannot know whether others do, so that it takes the lock with the bit set.
        let mut waiters = 0;
        loop {
            let present = word.load(Relaxed);
            if robust::owner(present) == 0 && (present & DIED == 0 || self.is_believed()) {
                match robust::take(head, self.slot.hot(), me, present, (present & WAITERS) | waiters) {
                    Some((token, before)) => return Ok(self.slot.acquired(token, before)),
                    None => continue,
                }
            }
            if robust::owner(present) == 0
                && let Some((token, before)) = self.take_over(me, head, present)
            {
                return Ok(self.slot.acquired(token, before));
            }
            if robust::owner(present) == me.tid() && self.slot.hot().owner() == me {
                return Err(ErrorKind::AlreadyHeld.into());
            }
            if deadline == Deadline::Now {
                return Ok(Acquired::TimedOut);
            }
            if spins < SPINS && present & WAITERS == 0 {
                spins += 1;
                std::hint::spin_loop();
                continue;
            }
            let remaining = deadline.remaining().unwrap_or(SLEEP);
            if remaining.is_zero() {
                if waiters != 0 {
                    self.pass_on();
                }
                return Ok(Acquired::TimedOut);
            }
            let (asleep, longest) = match announce(self.slot.hot(), present) {
                Some(Announced::Surely(asleep)) => (asleep, SLEEP),
                Some(Announced::Perhaps(asleep)) => (asleep, BLIND),
                Some(Announced::InVain) => {
                    waiters = WAITERS;
                    continue;
                }
                None => continue,
            };
            let doubtful = robust::owner(present) == 0;
            doubts = doubts.saturating_add(u32::from(doubtful));
            let longest = if doubtful { in_doubt(doubts) } else { longest };
            sys::wait(word, asleep, remaining.min(longest));
            waiters = WAITERS;
            if word.load(Relaxed) == asleep
                && let Some((token, before)) = self.take_over(me, head, asleep)
            {
                return Ok(self.slot.acquired(token, before));
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn release_slowly(&self) -> Result<()> {
        let Some(thread) = ThisThread::get() else { return no_list() };
        robust::give(thread.head(), self.slot.hot(), thread.barriers);
        Ok(())
    }

    /// A waiter that goes without the lock may have swallowed the wake-up that was meant for another.
    fn pass_on(&self) {
        let word = &self.slot.hot().word;
        loop {
            let present = word.load(Relaxed);
            if robust::owner(present) == 0 {
                return sys::wake_one(word);
            }
            if matches!(announce(self.slot.hot(), present), Some(Announced::Surely(_) | Announced::Perhaps(_))) {
                return;
            }
        }
    }

    /// Whether the kernel is believed that the owner died, without proof.
    ///
    /// It knows the owner by a thread id in a pid namespace. Somebody who is killed in the middle of an attempt on a lock that is held
    /// by a thread of the same id in another namespace makes the kernel take that owner for the dead one. Where a store is used
    /// from several namespaces, there has to be proof; it may come a little later than the kernel's word, since a dying process's
    /// futexes are looked after before its files are closed.
    #[cold]
    fn is_believed(&self) -> bool {
        self.slot.table().thread_ids_are_unique() || self.slot.hot().owner().is_none()
    }

    /// Takes the lock from an owner that is proved to be dead, and whom the kernel is not believed to have been right about, or did not
    /// serve: it held more locks than the kernel walks, or executed another program from a thread.
    ///
    /// Who takes over claims the right to it first and looks again: two who see the same dead owner, and one of whom has the
    /// same thread id in another pid namespace, could not tell the dead owner's word from that of the first to take over.
    fn take_over(&self, me: Owner, head: &Head, present: u32) -> Option<(u64, Owner)> {
        let (hot, table) = (self.slot.hot(), self.slot.table());
        let dead = hot.owner();
        let claim = &hot.spare[0];
        // Somebody else may have the lock by now, who has not written it down yet.
        let its_word = [0, dead.tid()].contains(&robust::owner(present));
        if !its_word || dead.is_none() || !table.is_gone(dead) || !table.claim(claim, me) {
            return None;
        }
        let same = hot.owner() == dead;
        let taken = if same { robust::take(head, hot, me, present, WAITERS) } else { None };
        claim.store(0, Release);
        taken
    }
}

impl RawLock for ShmLock {
    #[inline]
    fn acquire_at_once(&self) -> Option<u64> {
        let thread = ThisThread::at_once()?;
        let me = self.slot.me_at_once(thread.id)?;
        robust::take_free(thread.head(), self.slot.hot(), me, thread.id)
    }

    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let Some(thread) = ThisThread::get() else { return no_list() };
        self.acquire_slowly(self.slot.me(thread.id)?, thread.head(), deadline)
    }

    #[inline]
    fn release(&self, _: Proof) -> Result<()> {
        let Some(thread) = ThisThread::at_once() else { return self.release_slowly() };
        robust::give(thread.head(), self.slot.hot(), true);
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let held = robust::is_held(self.slot.hot());
        Ok(if held { self.slot.holder() } else { None })
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}

/// How long to sleep the next time, who has doubted so often: for ever, where there never is proof.
fn in_doubt(doubts: u32) -> Duration {
    DOUBT.saturating_mul(doubts.saturating_pow(2)).min(SLEEP)
}

#[cold]
fn no_list<T>() -> Result<T> {
    Err(Error::unsupported("the C library registered no robust list for this thread"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_doubts_a_death_for_ever_sleeps_longer_each_time_and_never_too_long() {
        let doubts = [1, 2, 10, 31, 32, 1 << 16, u32::MAX];
        assert!(doubts.is_sorted_by_key(|doubts| in_doubt(*doubts)));
        assert_eq!(doubts.map(in_doubt)[5..], [SLEEP, SLEEP]);
    }
}
