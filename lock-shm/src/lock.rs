use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lock_core::{
    Acquired, Condition, Deadline, Error, FastAttempt, Generation, HeldBy, Holder, OwnerKind, Proof, RawLock, Result,
};
use lock_table::{Owner, Slot, Waiting};

use crate::env;
use crate::env::SPINS;
use crate::recovery::{self, Vacant};
use crate::robust::{self, CurrentOwner};
use crate::starvation;
use crate::sys::{self, RateLimit, ThisThread};
use crate::wait::{Announced, WAITERS, Wake, announce};

/// The longest sleep. After it, a waiter checks whether the owner is alive.
///
/// It also bounds the delay after a lost wake-up: the owner woke a waiter, and both were killed.
const SLEEP: Duration = Duration::from_millis(200);

/// The longest sleep on a lock that is in no robust list. Only a check detects the death of its owner.
const IDENTITY_SLEEP: Duration = Duration::from_millis(10);

/// The longest sleep of a waiter that a release may not wake: without barriers, or during another thread's recovery.
const BLIND: Duration = Duration::from_millis(1);

/// The longest further sleep of a waiter without barriers. It is longer because each retry costs system calls.
pub(crate) const BLIND_AGAIN: Duration = Duration::from_millis(5);

/// Milliseconds between two checks of an owner by attempts that do not block.
const CHECK: u64 = 100;

/// A lock of the table. Its word is a robust futex.
#[derive(Debug)]
pub(crate) struct ShmLock {
    slot: Slot,
    checked: RateLimit,
}

impl ShmLock {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot, checked: RateLimit::default() }
    }

    /// Returns the calling thread as an owner.
    ///
    /// Its number is the thread id if the thread is in the store's home PID namespace and its robust list has room. Otherwise it is an
    /// identity number, which is never a thread id.
    fn current_owner<'a>(&self, thread: &'a ThisThread) -> Result<CurrentOwner<'a>> {
        let owner = self.slot.current_owner(thread.id)?;
        let at_home = self.slot.current_owner_at_home(thread.id).is_some() && !thread.is_full();
        Ok(match thread.list().filter(|_| at_home) {
            Some(list) => CurrentOwner { owner, caller: owner, number: thread.id, list: Some(list) },
            None => {
                let list = Some(thread.identity_list());
                CurrentOwner { owner, caller: owner, number: owner.identity_number(), list }
            }
        })
    }

    /// Returns the process of the calling thread as an owner, in any PID namespace.
    ///
    /// Its number is the identity number, so that only a proof of its death frees its lock.
    fn current_process(&self, thread: &ThisThread) -> Result<CurrentOwner<'static>> {
        let caller = self.slot.current_owner(thread.id)?;
        let owner = caller.process();
        Ok(CurrentOwner { owner, caller, number: owner.identity_number(), list: None })
    }

    #[cold]
    fn acquire_slowly(&self, me: &CurrentOwner<'_>, deadline: Deadline, waiting: &mut Waiting<'_>) -> Result<Acquired> {
        let word = &self.slot.line().word;
        let mut spins = 0;
        // A thread that has slept acquires the lock with the bit set, because other threads may still be asleep.
        let mut waiters = 0;
        loop {
            let patience = waiting.patience();
            let is_starved = patience.is_zero();
            env::round_depends_on(spins, waiters | u32::from(is_starved));
            let present = word.load(Relaxed);
            let number = robust::owner(present);
            let mut longest = if number >= Owner::FIRST_IDENTITY { IDENTITY_SLEEP } else { SLEEP };
            if number == 0 && !is_starved && starvation::is_reserved(self.slot.line(), present) {
                // The woken thread may have been killed.
                longest = BLIND;
            } else if number == 0 {
                match recovery::acquire_vacant(&self.slot, me, present, waiters) {
                    Vacant::Acquired(acquired) => return Ok(acquired),
                    Vacant::Changed => continue,
                    Vacant::Claimed => longest = BLIND,
                }
            } else if recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller {
                return Err(Error::already_held());
            }
            if deadline == Deadline::Now {
                let recovered = if self.checked.is_due(CHECK) { recovery::take_over(&self.slot, me, present) } else { None };
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
            if is_starved {
                starvation::mark(self.slot.line());
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
            waiting.begin(me.caller);
            // A thread that is not starved wakes when it becomes so, to set the mark.
            let limit = if is_starved { longest } else { longest.min(patience) };
            sys::wait(word, asleep, starvation::class(is_starved), remaining.min(limit));
            waiters = WAITERS;
            if limit == longest
                && word.load(Relaxed) == asleep
                && let Some(acquired) = recovery::take_over(&self.slot, me, asleep)
            {
                return Ok(acquired);
            }
        }
    }

    fn acquire_as_thread(&self, deadline: Deadline, waiting: &mut Waiting<'_>) -> Result<Acquired> {
        let thread = ThisThread::get();
        self.acquire_slowly(&self.current_owner(&thread)?, deadline, waiting)
    }

    fn acquire_as_process(&self, deadline: Deadline, waiting: &mut Waiting<'_>) -> Result<Acquired> {
        let me = self.current_process(&ThisThread::get())?;
        match robust::acquire(&me, self.slot.line(), 0, 0) {
            Some(token) => Ok(Acquired::Held { token }),
            None => self.acquire_slowly(&me, deadline, waiting),
        }
    }

    #[cold]
    #[inline(never)]
    fn release_slowly(&self, proof: Proof) -> Result<()> {
        let (line, thread, condition) = (self.slot.line(), ThisThread::get(), proof.condition());
        if proof.owner() == OwnerKind::Process {
            return self.release_of_process(&thread, condition);
        }
        let (me, number) = (self.slot.current_owner(thread.id)?, robust::owner(line.word.load(Relaxed)));
        // Outside the home namespace, the thread's id is never in the word of its locks. There it may be the id of another owner.
        let at_home = self.slot.current_owner_at_home(thread.id).is_some();
        let is_mine = number == me.identity_number() || (at_home && number == me.tid());
        if line.owner() != me || !is_mine {
            sys::forget(line);
            return Err(Error::lost());
        }
        let list = match thread.list() {
            Some(list) if number < Owner::FIRST_IDENTITY => list,
            _ => thread.identity_list(),
        };
        if condition == Condition::Consistent {
            robust::release(list, line, thread.barriers);
        } else {
            robust::release_inconsistent(Some(list), line, || _ = self.slot.clear_owner(me, condition));
        }
        Ok(())
    }

    fn release_of_process(&self, thread: &ThisThread, condition: Condition) -> Result<()> {
        let (line, me) = (self.slot.line(), self.current_process(thread)?);
        if line.owner() != me.owner || robust::owner(line.word.load(Relaxed)) != me.number {
            return Err(Error::lost());
        }
        if condition == Condition::Consistent {
            robust::release_of_process(line, thread.barriers);
        } else {
            robust::release_inconsistent(None, line, || _ = self.slot.clear_owner(me.owner, condition));
        }
        Ok(())
    }

    /// Passes a wake-up on. A waiter that times out may have consumed one that another waiter needs.
    fn pass_on(&self) {
        let word = &self.slot.line().word;
        loop {
            let present = word.load(Relaxed);
            if robust::owner(present) == 0 {
                let wake = if present & WAITERS != 0 { Wake::StarvedThread } else { Wake::OneWaiter };
                return wake.perform(self.slot.line());
            }
            if matches!(announce(self.slot.line(), present), Some(Announced::Guaranteed(_) | Announced::BestEffort(_))) {
                return;
            }
        }
    }
}

impl RawLock for ShmLock {
    #[inline]
    fn try_acquire_fast(&self) -> Option<u64> {
        let thread = ThisThread::try_fast()?;
        let me = self.slot.current_owner_at_home(thread.id)?;
        let (list, line) = (thread.list()?, self.slot.line());
        if sys::is_empty(list) {
            robust::acquire_free(list, line, me, thread.id)
        } else {
            robust::acquire_another(list, line, me, thread.id)
        }
    }

    #[inline]
    fn try_acquire_now(&self) -> FastAttempt {
        // The kernel frees a word with a thread id when the thread ends, except after deaths that only `take_over` finds.
        let number = robust::owner(self.slot.line().word.load(Relaxed));
        if (1..Owner::FIRST_IDENTITY).contains(&number) && !self.checked.has_passed(CHECK) {
            return FastAttempt::Busy;
        }
        self.try_acquire_fast().map_or(FastAttempt::Undecided, |token| FastAttempt::Held { token })
    }

    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as_thread(deadline, &mut self.slot.waiting())
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as_process(deadline, &mut self.slot.waiting())
    }

    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        self.slot.wait_in_slices(next, |deadline, waiting| match owner {
            OwnerKind::Process => self.acquire_as_process(deadline, waiting),
            _ => self.acquire_as_thread(deadline, waiting),
        })
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
        self.release_slowly(proof)
    }

    fn check(&self, owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        let me = self.slot.current_owner(ThisThread::get().id)?.of_kind(owner);
        if self.slot.line().owner() == me { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.check(owner, token)?;
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let held = robust::is_held(self.slot.line());
        Ok(if held { self.slot.holder() } else { None })
    }

    fn held_by(&self) -> HeldBy {
        self.slot.held_by()
    }

    fn waiters(&self) -> Option<u32> {
        self.slot.waiters()
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
