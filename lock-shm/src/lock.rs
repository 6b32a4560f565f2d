use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use lock_core::{Acquired, Condition, Deadline, ErrorKind, Generation, Holder, Proof, RawLock, Result};
use lock_table::{Owner, Slot};

use crate::env;
use crate::env::SPINS;
use crate::robust::{self, DIED, Me};
use crate::sys::{self, RateLimit, ThisThread};
use crate::waiters::{Announced, WAITERS, announce};

/// The longest sleep. After it, a waiter checks whether the owner is alive.
///
/// It also bounds the delay after a lost wake-up: the owner woke a waiter, and both were killed.
const SLEEP: Duration = Duration::from_millis(200);

/// The longest sleep on a lock that is in no robust list. Only a check detects the death of its owner.
const IDENTITY_SLEEP: Duration = Duration::from_millis(10);

/// The longest sleep of a waiter that a release may not wake: without barriers, or during another thread's recovery.
const BLIND: Duration = Duration::from_millis(1);

/// The longest further sleep of a waiter without barriers. It is longer because each retry costs system calls.
const BLIND_AGAIN: Duration = Duration::from_millis(10);

/// Milliseconds between two checks of an owner by attempts that do not block.
const CHECK: u64 = 100;

/// A lock of the table. Its word is a robust futex.
#[derive(Debug)]
pub(crate) struct ShmLock {
    slot: Slot,
    checked: RateLimit,
}

/// The result of an attempt to acquire a lock that has no owner.
enum Vacant {
    Acquired(Acquired),
    /// The lock word has changed.
    Changed,
    /// Another thread is recovering the lock.
    Claimed,
}

impl ShmLock {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot, checked: RateLimit::default() }
    }

    /// Returns the calling thread as an owner.
    ///
    /// Its number is the thread id if the thread is in the store's home PID namespace and its robust list has room. Otherwise it is an
    /// identity number, which is never a thread id.
    fn me<'a>(&self, thread: &'a ThisThread) -> Result<Me<'a>> {
        let owner = self.slot.me(thread.id)?;
        let at_home = self.slot.me_at_home(thread.id).is_some() && !thread.is_full();
        Ok(match thread.list().filter(|_| at_home) {
            Some(list) => Me { owner, number: thread.id, list },
            None => Me { owner, number: owner.identity_number(), list: thread.identity_list() },
        })
    }

    #[cold]
    fn acquire_slowly(&self, me: &Me<'_>, deadline: Deadline) -> Result<Acquired> {
        let word = &self.slot.line().word;
        let mut spins = 0;
        // A thread that has slept acquires the lock with the bit set, because other threads may still be asleep.
        let mut waiters = 0;
        loop {
            env::round_depends_on(spins, waiters);
            let present = word.load(Relaxed);
            let number = robust::owner(present);
            let mut longest = if number >= Owner::FIRST_IDENTITY { IDENTITY_SLEEP } else { SLEEP };
            if number == 0 {
                match self.acquire_vacant(me, present, waiters) {
                    Vacant::Acquired(acquired) => return Ok(acquired),
                    Vacant::Changed => continue,
                    Vacant::Claimed => longest = BLIND,
                }
            } else if is_of(me.owner, number) && self.slot.line().owner() == me.owner {
                return Err(ErrorKind::AlreadyHeld.into());
            }
            if deadline == Deadline::Now {
                let recovered = if self.checked.is_due(CHECK) { self.take_over(me, present) } else { None };
                return Ok(recovered.unwrap_or(Acquired::TimedOut));
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
            let asleep = match announce(self.slot.line(), present) {
                Some(Announced::Guaranteed(asleep)) => asleep,
                Some(Announced::BestEffort(asleep)) => {
                    longest = if waiters == 0 { BLIND } else { BLIND_AGAIN };
                    asleep
                }
                Some(Announced::Undone) => {
                    waiters = WAITERS;
                    continue;
                }
                None => continue,
            };
            sys::wait(word, asleep, remaining.min(longest));
            waiters = WAITERS;
            if word.load(Relaxed) == asleep
                && let Some(acquired) = self.take_over(me, asleep)
            {
                return Ok(acquired);
            }
        }
    }

    /// Acquires a lock whose word has no owner.
    ///
    /// A word without [`DIED`] was left by a consistent release. There is nothing to report, and only the word is read. A word with
    /// [`DIED`] is acquired only under a [claim](Self::recover).
    fn acquire_vacant(&self, me: &Me<'_>, present: u32, waiters: u32) -> Vacant {
        if present & DIED != 0 {
            return self.recover(me, present, None);
        }
        match robust::acquire(me, self.slot.line(), present, (present & WAITERS) | waiters) {
            Some(token) => Vacant::Acquired(Acquired::Held { token }),
            None => Vacant::Changed,
        }
    }

    /// Takes over a lock whose word has the number of an owner that is proven dead.
    ///
    /// This covers deaths that the kernel's robust list does not: more locks than the kernel walks, `exec` from a secondary thread, and
    /// owners outside the store's home PID namespace.
    fn take_over(&self, me: &Me<'_>, present: u32) -> Option<Acquired> {
        let (owner, table) = (self.slot.line().owner(), self.slot.table());
        let number = robust::owner(present);
        let gone = if !owner.is_none() && is_of(owner, number) {
            table.is_gone(owner)
        } else {
            // A thread with this number was acquiring or releasing the lock: the recorded owner is none, or the dead owner that the
            // thread recovers the lock from. If the number is a thread id, the kernel handles its death.
            number >= Owner::FIRST_IDENTITY && table.is_identity_gone(number)
        };
        match if gone { self.recover(me, present, Some(owner)) } else { Vacant::Changed } {
            Vacant::Acquired(acquired) => Some(acquired),
            _ => None,
        }
    }

    /// Acquires a lock after a death or an inconsistent release, or from an owner that is proven dead.
    ///
    /// The thread first claims the lock, which excludes other recoveries. Without the claim, the lock could be acquired and left by
    /// another death after this thread read the word. The thread also could not distinguish the word of a dead owner from that of a
    /// new owner with the same number that is not recorded yet.
    ///
    /// `dead` is the owner that must still be recorded.
    fn recover(&self, me: &Me<'_>, present: u32, dead: Option<Owner>) -> Vacant {
        let (line, claim) = (self.slot.line(), &self.slot.line().spare[0]);
        if !self.slot.table().claim(claim, me.owner) {
            return Vacant::Claimed;
        }
        // Read the word before the owner: while the word is `present` and the claim is held, the owner does not change. An owner that
        // is read first may have released the lock in the meantime.
        let owner = (line.word.load(Acquire) == present).then(|| line.owner());
        let owner = owner.filter(|owner| dead.is_none_or(|dead| dead == *owner));
        let taken = owner.map(|owner| (self.slot.take_note(owner), robust::acquire(me, line, present, WAITERS)));
        claim.store(0, Release);
        match taken {
            Some((note, Some(token))) => Vacant::Acquired(self.slot.acquired(token, note)),
            _ => Vacant::Changed,
        }
    }

    #[cold]
    #[inline(never)]
    fn release_slowly(&self, condition: Condition) -> Result<()> {
        let (line, thread) = (self.slot.line(), ThisThread::get());
        let (me, number) = (self.slot.me(thread.id)?, robust::owner(line.word.load(Relaxed)));
        // Outside the home namespace, the thread's id is never in the word of its locks. There it may be the id of another owner.
        let at_home = self.slot.me_at_home(thread.id).is_some();
        let is_mine = number == me.identity_number() || (at_home && number == me.tid());
        if line.owner() != me || !is_mine {
            sys::forget(line);
            return Err(ErrorKind::Lost.into());
        }
        let list = match thread.list() {
            Some(list) if number < Owner::FIRST_IDENTITY => list,
            _ => thread.identity_list(),
        };
        if condition == Condition::Consistent {
            robust::release(list, line, thread.barriers);
        } else {
            robust::release_inconsistent(list, line, || _ = self.slot.end(me, condition));
        }
        Ok(())
    }

    /// Passes a wake-up on. A waiter that times out may have consumed one that another waiter needs.
    fn pass_on(&self) {
        let word = &self.slot.line().word;
        loop {
            let present = word.load(Relaxed);
            if robust::owner(present) == 0 {
                return sys::wake_one(word);
            }
            if matches!(announce(self.slot.line(), present), Some(Announced::Guaranteed(_) | Announced::BestEffort(_))) {
                return;
            }
        }
    }
}

/// Returns whether an owner uses this number in lock words.
fn is_of(owner: Owner, number: u32) -> bool {
    [owner.tid(), owner.identity_number()].contains(&number)
}

impl RawLock for ShmLock {
    #[inline]
    fn try_acquire_fast(&self) -> Option<u64> {
        let thread = ThisThread::try_fast()?;
        let me = self.slot.me_at_home(thread.id)?;
        let (list, line) = (thread.list()?, self.slot.line());
        if sys::is_empty(list) {
            robust::acquire_free(list, line, me, thread.id)
        } else {
            robust::acquire_another(list, line, me, thread.id)
        }
    }

    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let thread = ThisThread::get();
        self.acquire_slowly(&self.me(&thread)?, deadline)
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        if let Some(thread) = ThisThread::try_fast_as_owner()
            && let Some(list) = thread.list()
            && self.slot.is_owned_at_home_by(thread.id)
            && proof.condition() == Condition::Consistent
        {
            robust::release(list, self.slot.line(), true);
            return Ok(());
        }
        self.release_slowly(proof.condition())
    }

    fn mark_consistent(&self) -> Result<()> {
        if self.slot.line().owner() != self.slot.me(ThisThread::get().id)? {
            return Err(ErrorKind::Lost.into());
        }
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let held = robust::is_held(self.slot.line());
        Ok(if held { self.slot.holder() } else { None })
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
