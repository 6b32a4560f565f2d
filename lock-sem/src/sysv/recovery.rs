//! Takeover from a dead owner, and repair of semaphores with lost or surplus units.

use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Result};
use lock_table::Owner;

use super::gate::GateGuard;
use super::ownership::Ownership;
use super::run::{denied, set_error};
use super::set::Outcome;
use super::state::SysvLock;

/// The longest sleep of a waiter while the owner has no undo.
///
/// When such an owner dies, the kernel gives no unit.
pub(super) const SHORT_SLEEP: Duration = Duration::from_millis(20);

/// How long a lock has to be free without a unit before it is taken over without one.
pub(super) const MISSING: Duration = Duration::from_millis(200);

/// Pauses between checks whether an owner is dead whose unit the kernel has given back.
///
/// They are 80 ms in total.
///
/// The kernel gives the units of a dying process back before it releases the liveness lock. The delay is microseconds, or
/// milliseconds if the process has inotify watches.
const PAUSES: [Duration; 13] = {
    let mut pauses = [SHORT_SLEEP; 13];
    let mut at = 0;
    while at < 10 {
        pauses[at] = Duration::from_micros(20 << at);
        at += 1;
    }
    pauses
};

/// The takeover of a lock by a thread inside the gate of its process.
#[derive(Debug)]
pub(super) struct Takeover<'a> {
    lock: &'a SysvLock,
    me: Owner,
    deadline: Deadline,
    gate: &'a GateGuard<'a>,
    /// The set was removed with its store.
    set_is_removed: bool,
    /// The set has its seal.
    ///
    /// The check stays valid, because this thread cannot change its IPC namespace during the acquisition.
    seal_is_checked: bool,
    /// The ownership of a living owner that has no unit for the kernel to give back.
    without_undo: Option<Ownership>,
}

impl<'a> Takeover<'a> {
    pub(super) fn new(lock: &'a SysvLock, me: Owner, deadline: Deadline, gate: &'a GateGuard<'a>) -> Self {
        Self { lock, me, deadline, gate, set_is_removed: false, seal_is_checked: false, without_undo: None }
    }

    pub(super) fn set_is_removed(&self) -> bool {
        self.set_is_removed
    }

    /// Checks whether `now` is the ownership of an owner that is known to have no undo.
    pub(super) fn has_no_undo(&self, now: Ownership) -> bool {
        self.without_undo == Some(now)
    }

    /// Makes this thread the owner with the unit that it took while the ownership was `before`.
    ///
    /// Waits until the present owner releases the lock or is proven dead. Returns `None` if this thread lost the unit or
    /// destroyed it.
    pub(super) fn with_unit(&mut self, before: Ownership) -> Result<Option<Acquired>> {
        let acquired = self.wait_for_proof(before);
        if !matches!(acquired, Ok(Some(Acquired::Held { .. } | Acquired::Recovered(_)))) {
            // Another thread may have cleared the unit. If the call fails, the kernel gives the unit back when this process ends.
            let _ = self.lock.semaphore.give_if_taken();
        }
        acquired
    }

    fn wait_for_proof(&mut self, before: Ownership) -> Result<Option<Acquired>> {
        let SysvLock { slot, semaphore, .. } = self.lock;
        let mut pauses = PAUSES.iter();
        loop {
            let now = self.lock.ownership();
            // A takeover sets the value of the semaphore, which clears the unit.
            if !now.is_armed() || (!now.is_of_same_term(before) && !semaphore.is_taken_by_us()?) {
                return Ok(None);
            }
            if !now.is_held() || slot.table().is_dead_or_dying(now.process()) {
                if self.lock.exchange(now, now.acquired_by(self.me)) {
                    return Ok(Some(slot.record_owner(self.me)));
                }
                continue;
            }
            let left = self.deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Some(Acquired::TimedOut));
            }
            let Some(pause) = pauses.next() else {
                // The owner lost its undo. It gives another unit when it releases the lock.
                semaphore.destroy_if_taken()?;
                self.without_undo = Some(now);
                return Ok(None);
            };
            self.gate.mark_waiting();
            thread::sleep(left.map_or(*pause, |left| left.min(*pause)));
        }
    }

    /// Makes this thread the owner without a unit.
    ///
    /// Returns `None` unless the owner is proven dead, or the lock is free and no unit exists.
    pub(super) fn without_unit(&mut self, now: Ownership) -> Result<Option<Acquired>> {
        let SysvLock { slot, location, semaphore, .. } = self.lock;
        let free = !now.is_held() && (!now.is_armed() || self.set_is_removed || self.is_unit_missing(now));
        if !free && !slot.table().is_dead(now.process()) {
            return Ok(None);
        }
        self.require_seal()?;
        let mine = now.taken_over_by(self.me);
        if !self.lock.exchange(now, mine) {
            return Ok(None);
        }
        match if self.set_is_removed { Ok(Outcome::Gone) } else { semaphore.arm() } {
            Ok(Outcome::Done) => self.lock.store(mine.armed()),
            Ok(Outcome::Gone) if location.is_being_removed() => {}
            failed => {
                self.lock.store(mine.released());
                return Err(if failed? == Outcome::Denied { denied() } else { set_error(location) });
            }
        }
        Ok(Some(slot.record_owner(self.me)))
    }

    /// Checks whether the lock has been free for [`MISSING`] without an acquisition.
    ///
    /// Only observations of threads of this process count.
    fn is_unit_missing(&self, now: Ownership) -> bool {
        self.gate.unchanged_for([now.word(), self.lock.slot.line().token()]) >= MISSING
    }

    /// Checks, once, that the set has its seal or was removed with its store.
    ///
    /// Required before a call that does not compare the seal.
    pub(super) fn require_seal(&mut self) -> Result<()> {
        if self.seal_is_checked || self.set_is_removed {
            return Ok(());
        }
        match self.lock.semaphore.check_seal()? {
            Outcome::Done | Outcome::NotDone => self.seal_is_checked = true,
            Outcome::Denied => return Err(denied()),
            Outcome::Gone => self.check_removal()?,
        }
        Ok(())
    }

    /// Checks that a set that is absent or has another seal was removed with its store.
    ///
    /// # Errors
    /// Those of [`set_error`] if it was not.
    pub(super) fn check_removal(&mut self) -> Result<()> {
        self.set_is_removed = self.lock.location.is_being_removed();
        if self.set_is_removed { Ok(()) } else { Err(set_error(&self.lock.location)) }
    }
}
