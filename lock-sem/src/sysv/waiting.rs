//! The slow paths of an acquisition: waiting, proof of death, and units that are lost or too many.

use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Result};
use lock_table::Owner;

use super::door::Entered;
use super::run::{denied, not_ours};
use super::set::Outcome;
use super::state::SysvLock;
use super::tenure::Tenure;

/// The longest sleep. A thread that slept that long checks whether the owner lives.
const SLEEP: Duration = Duration::from_millis(200);

/// The longest sleep while the owner is one that the kernel does not release: see [`Waiting::enter_slowly`].
const SHORT_SLEEP: Duration = Duration::from_millis(20);

/// How long a lock has to be free without giving a unit before it is taken over without one.
pub(super) const MISSING: Duration = Duration::from_millis(200);

/// Number of times to poll a tenure that its owner is about to arm before sleeping.
const YIELDS: u32 = 50;

/// Pauses between queries for the death of an owner whose unit the kernel has given back. The kernel gives back the units of a
/// process some time before its liveness lock: microseconds, or milliseconds if the process has watches of inotify. They are 80
/// ms in all.
const PAUSES: [Duration; 13] = {
    let mut pauses = [SHORT_SLEEP; 13];
    let mut at = 0;
    while at < 10 {
        pauses[at] = Duration::from_micros(20 << at);
        at += 1;
    }
    pauses
};

/// A thread that waits for a lock, inside the door of its process.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    lock: &'a SysvLock,
    me: Owner,
    deadline: Deadline,
    entered: &'a Entered<'a>,
    /// The set was removed with its store.
    set_is_gone: bool,
    /// The set was found to have its seal. This thread cannot change its IPC namespace meanwhile.
    sealed: bool,
    yields: u32,
    /// A tenure whose owner lives, and has no unit that the kernel would give back.
    without_undo: Option<Tenure>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(lock: &'a SysvLock, me: Owner, deadline: Deadline, entered: &'a Entered<'a>) -> Self {
        Self { lock, me, deadline, entered, set_is_gone: false, sealed: false, yields: 0, without_undo: None }
    }

    /// Acquires the lock, after an attempt to take the unit while the tenure was `before`.
    #[cold]
    pub(super) fn run(mut self, before: Tenure, tried: Outcome) -> Result<Acquired> {
        if let Some(acquired) = self.use_attempt(before, tried)? {
            return Ok(acquired);
        }
        loop {
            let now = self.lock.tenure();
            if now.is_armed() {
                // In another program's set, the attempt said nothing of the lock.
                self.require_seal()?;
            }
            if let Some(acquired) = self.take_over(now)? {
                return Ok(acquired);
            }
            let longest = if self.without_undo == Some(now) { SHORT_SLEEP } else { SLEEP };
            let sleep = self.deadline.remaining().unwrap_or(longest).min(longest);
            if sleep.is_zero() {
                return Ok(Acquired::TimedOut);
            }
            self.entered.settle();
            if !now.is_armed() || self.set_is_gone {
                self.poll(sleep);
                continue;
            }
            let tried = self.lock.semaphore.take_within(sleep)?;
            if let Some(acquired) = self.use_attempt(now, tried)? {
                return Ok(acquired);
            }
        }
    }

    /// Acquires the lock with the result of an attempt to take the unit while the tenure was `before`.
    fn use_attempt(&mut self, before: Tenure, tried: Outcome) -> Result<Option<Acquired>> {
        match tried {
            Outcome::Done => match self.lock.enter(self.me, before) {
                Some(acquired) => Ok(Some(acquired)),
                None => self.enter_slowly(before),
            },
            Outcome::NotDone => Ok(None),
            Outcome::Denied => Err(denied()),
            Outcome::NotOurs => self.check_removal().map(|()| None),
        }
    }

    /// Becomes the owner with the unit that this thread took while the tenure was `before`, when the owner in the tenure has
    /// released the lock or is proved dead. `None` when this thread does not have the unit any more.
    fn enter_slowly(&mut self, before: Tenure) -> Result<Option<Acquired>> {
        let entered = self.enter_with_proof(before);
        if !matches!(entered, Ok(Some(Acquired::Held { .. } | Acquired::Recovered(_)))) {
            // Another thread may have cleared it at any moment. What fails here, the end of this process does.
            let _ = self.lock.semaphore.give_if_taken();
        }
        entered
    }

    fn enter_with_proof(&mut self, before: Tenure) -> Result<Option<Acquired>> {
        let SysvLock { slot, semaphore, .. } = self.lock;
        let mut pauses = PAUSES.iter();
        loop {
            let now = self.lock.tenure();
            // A takeover sets the value, and clears the unit.
            if !now.is_armed() || (!now.is_of_same_term(before) && !semaphore.is_taken_by_us()?) {
                return Ok(None);
            }
            if !now.is_held() || slot.table().is_dead_or_dying(now.process()) {
                if self.lock.exchange(now, now.entered_by(self.me)) {
                    return Ok(Some(slot.begin(self.me)));
                }
                continue;
            }
            let left = self.deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Some(Acquired::TimedOut));
            }
            let Some(pause) = pauses.next() else {
                // The owner lost its undo, and will give another unit when it releases the lock.
                semaphore.destroy_if_taken()?;
                self.without_undo = Some(now);
                return Ok(None);
            };
            self.entered.settle();
            thread::sleep(left.map_or(*pause, |left| left.min(*pause)));
        }
    }

    /// Becomes the owner without the unit, where that is right.
    fn take_over(&mut self, now: Tenure) -> Result<Option<Acquired>> {
        let SysvLock { slot, home, semaphore, .. } = self.lock;
        let free = !now.is_held() && (!now.is_armed() || self.set_is_gone || self.is_unit_missing(now));
        if !free && !slot.table().is_dead(now.process()) {
            return Ok(None);
        }
        self.require_seal()?;
        let mine = now.taken_over_by(self.me);
        if !self.lock.exchange(now, mine) {
            return Ok(None);
        }
        match if self.set_is_gone { Ok(Outcome::NotOurs) } else { semaphore.arm() } {
            Ok(Outcome::Done) => self.lock.store(mine.armed()),
            Ok(Outcome::NotOurs) if home.is_being_removed() => {}
            failed => {
                self.lock.store(mine.released());
                return Err(if failed? == Outcome::Denied { denied() } else { not_ours(home) });
            }
        }
        Ok(Some(slot.begin(self.me)))
    }

    /// Whether the lock has been free for long, as far as this process saw, and no other thread got it.
    fn is_unit_missing(&self, now: Tenure) -> bool {
        self.entered.age_of([now.word(), self.lock.slot.hot().token()]) >= MISSING
    }

    /// Waits for a change of the tenure that gives no unit.
    fn poll(&mut self, sleep: Duration) {
        self.yields += 1;
        // Its owner is about to arm the semaphore, unless the set is gone.
        if self.yields < YIELDS && !self.set_is_gone { thread::yield_now() } else { thread::sleep(sleep) }
    }

    /// Checks, once, that the set has its seal or went with its store: before a call that does not compare the seal.
    fn require_seal(&mut self) -> Result<()> {
        if self.sealed || self.set_is_gone {
            return Ok(());
        }
        match self.lock.semaphore.check_seal()? {
            Outcome::Done | Outcome::NotDone => self.sealed = true,
            Outcome::Denied => return Err(denied()),
            Outcome::NotOurs => self.check_removal()?,
        }
        Ok(())
    }

    /// Finds out why the set is not there, or not the store's: it went with the store, or else that is an error.
    fn check_removal(&mut self) -> Result<()> {
        self.set_is_gone = self.lock.home.is_being_removed();
        if self.set_is_gone { Ok(()) } else { Err(not_ours(&self.lock.home)) }
    }
}
