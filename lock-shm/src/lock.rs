use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use lock_core::table::{Owner, Slot};
use lock_core::{Acquired, Deadline, ErrorKind, Generation, Holder, Proof, RawLock, Result};

use crate::robust::{self, DIED, WAITERS};
use crate::sys;

/// Looks at a lock that is held this many times before it sleeps.
const SPINS: u32 = 100;

/// The longest sleep. Whoever sleeps that long looks whether the owner lives; and should a wake-up be lost because both the owner and
/// the waiter that it woke were killed, others wait no longer than this.
const SLEEP: Duration = Duration::from_millis(200);

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

    /// Tries to put our thread id in the place of `old`.
    #[inline]
    fn take(&self, me: Owner, old: u32, waiters: u32) -> Option<Acquired> {
        robust::take(self.slot.hot(), old, me.tid() | waiters, || self.slot.acquired(me))
    }

    #[cold]
    fn acquire_slowly(&self, me: Owner, deadline: Deadline) -> Result<Acquired> {
        robust::check()?;
        let word = &self.slot.hot().word;
        let mut spins = 0;
        let mut doubts = 0;
        // Once it has slept it cannot know whether others do, so that it takes the lock with the bit set.
        let mut waiters = 0;
        loop {
            let present = word.load(Relaxed);
            if robust::owner(present) == 0 && (present & DIED == 0 || self.is_dead_indeed()) {
                if let Some(acquired) = self.take(me, present, (present & WAITERS) | waiters) {
                    return Ok(acquired);
                }
                continue;
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
            let asleep = present | WAITERS;
            if present != asleep && word.compare_exchange(present, asleep, Relaxed, Relaxed).is_err() {
                continue;
            }
            let doubtful = robust::owner(present) == 0;
            doubts += u32::from(doubtful);
            let sleep = if doubtful { DOUBT * doubts.pow(2) } else { SLEEP };
            sys::wait(word, asleep, remaining.min(sleep).min(SLEEP));
            waiters = WAITERS;
            if word.load(Relaxed) == asleep
                && let Some(acquired) = self.take_over(me, asleep)
            {
                return Ok(acquired);
            }
        }
    }

    /// A waiter that goes without the lock may have swallowed the wake-up that was meant for another.
    fn pass_on(&self) {
        let word = &self.slot.hot().word;
        loop {
            let present = word.load(Relaxed);
            if robust::owner(present) == 0 {
                return sys::wake_one(word);
            }
            if present & WAITERS != 0 || word.compare_exchange(present, present | WAITERS, Relaxed, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Whether the owner died whom the kernel declared dead.
    ///
    /// It knows the owner by a thread id in a pid namespace. Somebody who is killed in the middle of an attempt on a lock that is held
    /// by a thread of the same id in another namespace makes the kernel take that owner for the dead one. Where a store is used
    /// from several namespaces, there has to be proof; it may come a little later than the kernel's word, since a dying process's
    /// futexes are looked after before its files are closed.
    #[cold]
    fn is_dead_indeed(&self) -> bool {
        let (table, owner) = (self.slot.table(), self.slot.hot().owner());
        table.thread_ids_are_unique() || owner.is_none() || table.is_gone(owner)
    }

    /// Takes the lock from an owner that is proved to be dead, and that the kernel's list did not serve: it held more locks than the
    /// kernel walks, or executed another program from a thread.
    ///
    /// Who takes over claims the right to it first and looks again: two who see the same dead owner, and one of whom has the
    /// same thread id in another pid namespace, could not tell the dead owner's word from that of the first to take over.
    fn take_over(&self, me: Owner, present: u32) -> Option<Acquired> {
        let (hot, table) = (self.slot.hot(), self.slot.table());
        let dead = hot.owner();
        let claim = &hot.spare[0];
        if dead.is_none() || !table.is_gone(dead) || !table.claim(claim, me) {
            return None;
        }
        let same = hot.owner() == dead;
        let acquired = if same { self.take(me, present, WAITERS) } else { None };
        claim.store(0, Release);
        acquired
    }
}

impl RawLock for ShmLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let me = self.slot.me()?;
        match self.take(me, 0, 0) {
            Some(acquired) => Ok(acquired),
            None => self.acquire_slowly(me, deadline),
        }
    }

    #[inline]
    fn release(&self, _: Proof) -> Result<()> {
        if self.slot.hot().owner() != self.slot.me()? {
            return Err(ErrorKind::NotHeld.into());
        }
        robust::give(self.slot.hot());
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
