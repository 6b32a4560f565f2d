use lock_core::{Acquired, Deadline, Error, Generation, HeldBy, Holder, OwnerKind, Proof, RawLock, Result};
use lock_table::thread as this_thread;
use lock_table::{Owner, Slot, Waiting};

use super::{line, recovery, wait};
use crate::sys::PosixSemaphore;

/// A lock: an owner word in the line of the lock, and a `sem_t` on which threads wait.
///
/// # Protocol
/// The owner word decides. A thread acquires the lock by exchanging an empty owner word for its own, and releases it by the
/// reverse exchange. The word is that of the process, without the thread, if the process owns the lock. Breaking a lock is the same exchange with the word of its owner. So an owner can release the lock only once,
/// and only one of several threads that break it succeeds.
///
/// A unit of the semaphore is a hint that the lock may be free. Every release posts one. A thread that takes a unit and finds an
/// owner discards the unit, because that owner will post another.
///
/// The first owner initializes the semaphore. A line of zeros is a free lock without a semaphore.
#[derive(Debug)]
pub(crate) struct PosixLock {
    slot: Slot,
}

impl PosixLock {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot }
    }

    /// Makes `me` the owner if the lock is free.
    #[inline]
    fn try_acquire(&self, me: Owner) -> Option<Acquired> {
        let line = self.slot.line();
        if !line::try_own(line, me) {
            return None;
        }
        PosixSemaphore::init_of(line);
        // The table still names an owner whose lock was broken.
        let before = line.owner();
        Some(if before.is_none() {
            self.slot.record_owner(me)
        } else {
            recovery::record_owner_after_break(&self.slot, before, me)
        })
    }

    #[cold]
    fn acquire_slowly(&self, caller: Owner, me: Owner, deadline: Deadline, waiting: &mut Waiting<'_>) -> Result<Acquired> {
        wait::until(self.slot.line(), deadline, || waiting.begin(caller), || self.try_acquire(me))
    }

    #[inline]
    fn acquire_as(&self, kind: OwnerKind, deadline: Deadline, waiting: &mut Waiting<'_>) -> Result<Acquired> {
        let caller = self.slot.current_owner(this_thread::id())?;
        let (line, me) = (self.slot.line(), caller.of_kind(kind));
        if line::lock_owner(line) == caller {
            return Err(Error::already_held());
        }
        if let Some(semaphore) = line::semaphore_of(line)?
            && semaphore.try_take().map_err(|e| line::call_error("sem_trywait", e))?
            && let Some(acquired) = self.try_acquire(me)
        {
            return Ok(acquired);
        }
        self.acquire_slowly(caller, me, deadline, waiting)
    }
}

impl RawLock for PosixLock {
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
        let (line, me) = (self.slot.line(), self.slot.current_owner(this_thread::id())?.of_kind(proof.owner()));
        // After a break, another thread may have acquired the lock for the same process, which is then the owner again.
        if proof.token().is_some_and(|token| token != line.token()) {
            return Err(Error::lost());
        }
        // `clear_owner_unless_lost` compares the owner again, because the lock may be broken and acquired after the first comparison.
        let is_ours = line::lock_owner(line) == me && self.slot.clear_owner_unless_lost(me, proof.condition());
        if is_ours && line::disown(line, me)? { Ok(()) } else { Err(Error::lost()) }
    }

    fn check(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        let me = self.slot.current_owner(this_thread::id())?.of_kind(owner);
        let line = self.slot.line();
        // As in `release`.
        let is_latest = token.is_none_or(|token| token == line.token());
        if is_latest && line::lock_owner(line) == me { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.check(owner, token)?;
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let owner = line::lock_owner(self.slot.line());
        Ok((!owner.is_none()).then(|| self.slot.table().describe(owner)))
    }

    fn held_by(&self) -> HeldBy {
        self.slot.table().held_by(line::lock_owner(self.slot.line()))
    }

    fn waiters(&self) -> Option<u32> {
        self.slot.waiters()
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
