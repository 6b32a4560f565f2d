//! Waiting for a held lock.
//!
//! A thread sleeps in the kernel for a unit of the semaphore, and checks the owner between two sleeps.

use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Result};
use lock_table::Owner;

use super::gate::GateGuard;
use super::ownership::Ownership;
use super::recovery::{SHORT_SLEEP, Takeover};
use super::run::denied;
use super::set::Outcome;
use super::state::SysvLock;

/// The longest sleep. After this time, a waiter checks whether the owner is alive.
const SLEEP: Duration = Duration::from_millis(200);

/// Number of times to poll the ownership of a lock that its owner is about to arm before sleeping.
const YIELDS: u32 = 50;

/// A thread that waits for a lock. It is inside the gate of its process.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    lock: &'a SysvLock,
    me: Owner,
    deadline: Deadline,
    gate: &'a GateGuard<'a>,
    takeover: Takeover<'a>,
    yields: u32,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(lock: &'a SysvLock, me: Owner, deadline: Deadline, gate: &'a GateGuard<'a>) -> Self {
        Self { lock, me, deadline, gate, takeover: Takeover::new(lock, me, deadline, gate), yields: 0 }
    }

    /// Acquires the lock.
    ///
    /// `tried` is the result of an attempt to take the unit while the ownership was `before`. `before_sleep` is called before each sleep.
    #[cold]
    pub(super) fn run(mut self, before: Ownership, tried: Outcome, mut before_sleep: impl FnMut()) -> Result<Acquired> {
        if let Some(acquired) = self.use_attempt(before, tried)? {
            return Ok(acquired);
        }
        loop {
            let now = self.lock.ownership();
            if now.is_armed() {
                // An attempt on another program's set tells nothing about the lock.
                self.takeover.require_seal()?;
            }
            if let Some(acquired) = self.takeover.without_unit(now)? {
                return Ok(acquired);
            }
            let longest = if self.takeover.has_no_undo(now) { SHORT_SLEEP } else { SLEEP };
            let sleep = self.deadline.remaining().unwrap_or(longest).min(longest);
            if sleep.is_zero() {
                return Ok(Acquired::TimedOut);
            }
            self.gate.mark_waiting();
            before_sleep();
            if !now.is_armed() || self.takeover.set_is_removed() {
                self.poll(sleep);
                continue;
            }
            let tried = self.lock.semaphore.take_within(sleep)?;
            if let Some(acquired) = self.use_attempt(now, tried)? {
                return Ok(acquired);
            }
        }
    }

    /// Acquires the lock if an attempt took the unit. The ownership was `before` at the attempt.
    fn use_attempt(&mut self, before: Ownership, tried: Outcome) -> Result<Option<Acquired>> {
        match tried {
            Outcome::Done => match self.lock.acquire_if_free(self.me, before) {
                Some(acquired) => Ok(Some(acquired)),
                None => self.takeover.with_unit(before),
            },
            Outcome::NotDone => Ok(None),
            Outcome::Denied => Err(denied()),
            Outcome::Gone => self.takeover.check_removal().map(|()| None),
        }
    }

    /// Waits for a change of the ownership that gives no unit.
    ///
    /// The owner is about to arm the semaphore, or the set was removed.
    fn poll(&mut self, sleep: Duration) {
        self.yields += 1;
        if self.yields < YIELDS && !self.takeover.set_is_removed() { thread::yield_now() } else { thread::sleep(sleep) }
    }
}
