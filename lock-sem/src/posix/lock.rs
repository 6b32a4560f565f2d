use lock_core::{Acquired, Deadline, Error, Generation, HeldBy, Holder, OwnerKind, Proof, RawLock, Result};
use lock_table::thread as this_thread;
use lock_table::{Owner, Slot};

use super::{line, recovery, wait};
use crate::sys::PosixSemaphore;

/// A lock: the recorded owner of the line, and a `sem_t` on which threads wait.
///
/// # Protocol
/// The recorded owner is the lock. A thread acquires it by exchanging no owner for its own word, and releases it by the reverse
/// exchange. The word is that of the process, without the thread, if the process owns the lock. Breaking a lock marks the word of
/// its owner as broken, which frees the lock. So an owner can release the lock only once, and only one of several threads that break
/// it succeeds. The next owner finds the word of the owner whose lock was broken.
///
/// A unit of the semaphore is a hint that the lock may be free. A thread that is about to sleep sets the mark of waiters, and checks
/// the lock again. A release that finds the mark removes it and posts a unit. A thread that has slept sets the mark again before it
/// leaves, because others may still be asleep. A thread that takes a unit and finds an owner discards the unit.
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
        let (line, before) = (self.slot.line(), self.slot.line().owner());
        let acquired = if before.is_none() {
            self.slot.replace_owner(before, me)?
        } else if before.is_broken() {
            recovery::acquire_broken(&self.slot, before, me)?
        } else {
            return None;
        };
        PosixSemaphore::init_of(line);
        Some(acquired)
    }

    #[cold]
    fn acquire_slowly(&self, me: Owner, deadline: Deadline) -> Result<Acquired> {
        wait::until(self.slot.line(), deadline, || self.try_acquire(me))
    }

    #[inline]
    fn acquire_as(&self, kind: OwnerKind, deadline: Deadline) -> Result<Acquired> {
        let caller = self.slot.current_owner(this_thread::id())?;
        let line = self.slot.line();
        if line::lock_owner(line) == caller {
            return Err(Error::already_held());
        }
        line::semaphore_of(line)?;
        let me = caller.of_kind(kind);
        self.try_acquire(me).map_or_else(|| self.acquire_slowly(me, deadline), Ok)
    }
}

impl RawLock for PosixLock {
    #[inline]
    fn try_acquire_fast(&self) -> Option<u64> {
        let me = self.slot.current_owner(this_thread::id()).ok()?;
        let line = self.slot.line();
        // The slow path initializes the semaphore, and returns the error for a damaged one.
        line::semaphore_of(line).ok()??;
        line.replace_owner(Owner::NONE, me)
    }

    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Process, deadline)
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let (line, me) = (self.slot.line(), self.slot.current_owner(this_thread::id())?.of_kind(proof.owner()));
        // After a break, another thread may have acquired the lock for the same process, which is then the owner again.
        if proof.token().is_some_and(|token| token != line.token()) {
            return Err(Error::lost());
        }
        if !self.slot.clear_owner_unless_lost(me, proof.condition()) {
            return Err(Error::lost());
        }
        line::wake(line)
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

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
