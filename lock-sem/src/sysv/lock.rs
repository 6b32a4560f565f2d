use lock_core::{Acquired, Deadline, Error, ErrorKind, Generation, HeldBy, Holder, OwnerKind, Proof, RawLock, Result};
use lock_table::thread as this_thread;
use lock_table::{Owner, Waiting};

use super::gate::{GateGuard, Inside};
use super::ownership::Ownership;
use super::run::set_error;
use super::set::Outcome;
use super::state::SysvLock;
use super::wait::Waiter;

impl SysvLock {
    #[inline]
    fn acquire_as(&self, kind: OwnerKind, deadline: Deadline, waiting: &mut Waiting<'_>) -> Result<Acquired> {
        let caller = self.slot.current_owner(this_thread::id())?;
        let me = caller.of_kind(kind);
        if self.slot.line().owner() == caller {
            return Err(Error::already_held());
        }
        let is_held = || self.ownership().is_held_by(me);
        let gate = self.gate()?.enter(Inside::of(caller), Inside::of(me), deadline, is_held, || waiting.begin(caller))?;
        let Some(gate) = gate else { return Ok(Acquired::TimedOut) };
        let acquired = self.acquire_inside(caller, me, deadline, &gate, waiting)?;
        if !matches!(acquired, Acquired::TimedOut) {
            gate.keep();
        }
        Ok(acquired)
    }

    #[inline]
    fn acquire_inside(
        &self,
        caller: Owner,
        me: Owner,
        deadline: Deadline,
        gate: &GateGuard<'_>,
        waiting: &mut Waiting<'_>,
    ) -> Result<Acquired> {
        let before = self.ownership();
        let tried = if before.is_armed() { self.semaphore.try_take()? } else { Outcome::NotDone };
        if tried == Outcome::Done
            && let Some(acquired) = self.acquire_if_free(me, before)
        {
            return Ok(acquired);
        }
        Waiter::new(self, me, deadline, gate).run(before, tried, || waiting.begin(caller))
    }

    /// Leaves the gate after the lock was lost, so that other threads of this process can acquire the lock.
    #[cold]
    fn lost(&self, me: Owner) -> Result<()> {
        self.gate()?.leave(Inside::of(me));
        Err(Error::lost())
    }

    /// Disarms a released lock whose unit could not be given back.
    ///
    /// The next owner takes the lock over without the unit.
    #[cold]
    pub(super) fn disarm(&self, released: Ownership, given: Result<Outcome>) -> Result<()> {
        self.exchange(released, released.disarmed());
        match given? {
            Outcome::Done | Outcome::Denied => Ok(()),
            Outcome::NotDone | Outcome::Gone if self.location.is_being_removed() => Ok(()),
            Outcome::NotDone | Outcome::Gone => match set_error(&self.location) {
                // This thread has left the IPC namespace of the set.
                error if matches!(error.kind(), ErrorKind::Untrusted) => Ok(()),
                error => Err(error),
            },
        }
    }
}

impl RawLock for SysvLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline, &mut self.slot.waiting())
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Process, deadline, &mut self.slot.waiting())
    }

    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        self.slot.wait_in_slices(next, |deadline, waiting| self.acquire_as(owner, deadline, waiting))
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let me = self.slot.current_owner(this_thread::id())?.of_kind(proof.owner());
        let now = self.ownership();
        if self.slot.line().owner() != me || !now.is_held_by(me) {
            return self.lost(me);
        }
        let gate = self.gate()?;
        self.slot.clear_owner(me, proof.condition());
        let released = now.released();
        self.store(released);
        // The semaphore is not armed if its set was removed with the store. Then waiters poll the ownership word.
        let given = if now.is_armed() { self.semaphore.give() } else { Ok(Outcome::Done) };
        let released = if let Ok(Outcome::Done) = given { Ok(()) } else { self.disarm(released, given) };
        gate.leave(Inside::of(me));
        released
    }

    fn check(&self, owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        let me = self.slot.current_owner(this_thread::id())?.of_kind(owner);
        if self.slot.line().owner() == me && self.ownership().is_held_by(me) { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.check(owner, token)?;
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.slot.holder())
    }

    fn waiters(&self) -> Option<u32> {
        self.slot.waiters()
    }

    fn held_by(&self) -> HeldBy {
        self.slot.held_by()
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
