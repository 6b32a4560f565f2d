use lock_core::{Acquired, Deadline, ErrorKind, Generation, Holder, Proof, RawLock, Result};
use lock_table::Owner;
use lock_table::thread as this_thread;

use super::door::{Door, Entered};
use super::run::not_ours;
use super::set::Outcome;
use super::state::SysvLock;
use super::tenure::Tenure;
use super::waiting::Waiting;

impl SysvLock {
    #[inline]
    fn acquire_inside(&self, me: Owner, deadline: Deadline, entered: &Entered<'_>) -> Result<Acquired> {
        let before = self.tenure();
        let tried = if before.is_armed() { self.semaphore.try_take()? } else { Outcome::NotDone };
        if tried == Outcome::Done
            && let Some(acquired) = self.enter(me, before)
        {
            return Ok(acquired);
        }
        Waiting::new(self, me, deadline, entered).run(before, tried)
    }

    /// Lets other threads of this process have their turn after the lock was lost.
    #[cold]
    fn lost(&self, me: Owner) -> Result<()> {
        self.door()?.leave(me.tid());
        Err(ErrorKind::Lost.into())
    }

    /// After a release whose unit could not be given back. The next owner takes the lock over without it.
    #[cold]
    pub(super) fn not_given(&self, released: Tenure, given: Result<Outcome>) -> Result<()> {
        self.exchange(released, released.disarmed());
        match given? {
            Outcome::Done | Outcome::Denied => Ok(()),
            Outcome::NotDone | Outcome::NotOurs if self.home.is_being_removed() => Ok(()),
            Outcome::NotDone | Outcome::NotOurs => match not_ours(&self.home) {
                // This thread has left the IPC namespace.
                error if matches!(error.kind(), ErrorKind::NotOurs { .. }) => Ok(()),
                error => Err(error),
            },
        }
    }
}

impl RawLock for SysvLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let me = self.slot.me(this_thread::id())?;
        if self.slot.hot().owner() == me {
            return Err(ErrorKind::AlreadyHeld.into());
        }
        let Some(entered) = self.door()?.enter(me.tid(), deadline, || self.tenure().is_held_by(me))? else {
            return Ok(Acquired::TimedOut);
        };
        let acquired = self.acquire_inside(me, deadline, &entered)?;
        if !matches!(acquired, Acquired::TimedOut) {
            entered.stay();
        }
        Ok(acquired)
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let me = self.slot.me(this_thread::id())?;
        let now = self.tenure();
        if self.slot.hot().owner() != me || !now.is_held_by(me) {
            return self.lost(me);
        }
        let door = self.door()?;
        self.slot.end(me, proof.condition());
        let released = now.released();
        self.store(released);
        // Where the semaphore is not armed, its set is gone, and others wait by reading the tenure.
        let given = if now.is_armed() { self.semaphore.give() } else { Ok(Outcome::Done) };
        let released = if let Ok(Outcome::Done) = given { Ok(()) } else { self.not_given(released, given) };
        door.leave(me.tid());
        released
    }

    fn mark_consistent(&self) -> Result<()> {
        let me = self.slot.me(this_thread::id())?;
        if self.slot.hot().owner() != me || !self.tenure().is_held_by(me) {
            return Err(ErrorKind::Lost.into());
        }
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.slot.holder())
    }

    fn waiters(&self) -> Option<u32> {
        let in_front = self.door().map_or(0, Door::queue);
        self.semaphore.waiters().map(|in_the_kernel| in_the_kernel + in_front)
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
