use lock_core::{Acquired, Deadline, Error, Generation, HeldBy, Holder, OwnerKind, Proof, RawLock, Result};
use lock_table::thread as this_thread;
use lock_table::{Announcement, Owner, Queue, Slot, Waiting};

use super::wait::{self, Attempt};
use super::{line, recovery};
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
/// The token of the owner is stored after the exchange. Until then, and after the owner has begun its release, the line says that the token
/// is unknown. So no reader takes the token of one owner for that of the next.
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

    #[inline]
    fn queue(&self) -> Queue<'_> {
        self.slot.queue(Announcement::WhenStarved)
    }

    /// Makes `me` the owner if the lock is free.
    #[inline]
    fn try_acquire(&self, me: Owner) -> Option<Acquired> {
        let (line, before) = (self.slot.line(), self.slot.line().owner());
        let acquired = if before.is_none() {
            let token = line::acquire(line, before, me)?;
            self.slot.acquired(token, self.slot.record_death(before))
        } else if before.is_broken() {
            recovery::acquire_broken(&self.slot, before, me)?
        } else {
            return None;
        };
        PosixSemaphore::init_of(line);
        Some(acquired)
    }

    #[cold]
    fn acquire_slowly(&self, caller: Owner, me: Owner, deadline: Deadline, waiting: &Waiting<'_>) -> Result<Acquired> {
        let attempt = || match self.queue().is_reserved(caller, waiting) {
            true => Attempt::Reserved,
            false => self.try_acquire(me).map_or(Attempt::Busy, Attempt::Acquired),
        };
        wait::until(self.slot.line(), deadline, || self.queue().enqueue(caller, waiting), attempt)
    }

    #[inline]
    fn acquire_as(&self, kind: OwnerKind, deadline: Deadline, waiting: &Waiting<'_>) -> Result<Acquired> {
        let caller = self.slot.current_owner(this_thread::id())?;
        let line = self.slot.line();
        if line::lock_owner(line) == caller {
            return Err(Error::already_held());
        }
        line::semaphore_of(line)?;
        let me = caller.of_kind(kind);
        let acquired = if self.queue().may_be_reserved() { None } else { self.try_acquire(me) };
        acquired.map_or_else(|| self.acquire_slowly(caller, me, deadline, waiting), Ok)
    }
}

impl RawLock for PosixLock {
    #[inline]
    fn try_acquire_fast(&self) -> Option<u64> {
        let me = self.slot.current_owner(this_thread::id()).ok()?;
        let line = self.slot.line();
        // The slow path initializes the semaphore, and returns the error for a damaged one.
        line::semaphore_of(line).ok()??;
        if self.queue().may_be_reserved() {
            return None;
        }
        line::acquire(line, Owner::NONE, me)
    }

    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline, &self.slot.waiting())
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Process, deadline, &self.slot.waiting())
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
        line::forget_token(line);
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

    fn waiters(&self) -> Option<u32> {
        self.slot.waiters()
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use lock_core::{Lock, LockId, OpenMode};
    use lock_table::{Kind, Table, TableOptions};

    #[test]
    fn the_token_of_an_owner_is_unknown_when_it_may_be_replaced() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("store");
        let table = Table::open(&path, Kind::new("psem", 0), OpenMode::Create, &TableOptions::default()).unwrap();
        let [slot, observed] = [(); 2].map(|()| table.slot(LockId::new(3)).unwrap());
        let lock = Lock::standalone(Arc::new(PosixLock::new(slot)), "a lock", table.id());
        let (line, me) = (observed.line(), table.current_owner().unwrap());
        for token in [1, 2] {
            let guard = lock.lock().unwrap();
            assert_eq!(line::token(line), Some(token));
            guard.unlock().unwrap();
            assert_eq!(line::token(line), None, "a release did not forget the token");
        }
        std::mem::forget(lock.lock().unwrap());
        recovery::break_lock(&observed).unwrap();
        assert_eq!(line::token(line), Some(3));
        // As if another thread had acquired the broken lock meanwhile.
        assert!(recovery::acquire_broken(&observed, me, me).is_none());
        assert_eq!(line::token(line), None, "an attempt to acquire a broken lock did not forget the token");
        let _guard = lock.lock().unwrap();
        assert_eq!(line::token(line), Some(4));
    }
}
