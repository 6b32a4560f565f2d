//! The semaphore of a lock, in a set that is verified by its seal.
//!
//! In another IPC namespace, the id of a set may belong to a set of another program, and a thread may change its namespace at any
//! time. So an operation that changes the set also compares the seal. The kernel executes all steps or none, so the operation
//! changes no other set. A call that cannot compare the seal follows [`Semaphore::check_seal`] in the same thread, which does not
//! change its namespace in between.

use std::fmt;
use std::time::Duration;

use libc::sembuf;
use lock_core::{Error, Result};
use nix::errno::Errno;

use super::limits;
use super::set::{Outcome, Set};
use crate::sys::{self, step};

const UNDO: i32 = libc::SEM_UNDO;
const NOW: i32 = libc::IPC_NOWAIT;

/// Half of the range of the kernel's undo adjustment; see [`Semaphore::adjust`].
const HALF: i16 = 1 << 14;

/// Number of steps of the longest operation.
const MAX_STEPS: usize = 9;

/// The semaphore of a lock. Its value is 1, one unit, when the lock is free.
#[derive(Clone, Copy)]
pub(crate) struct Semaphore {
    set: Set,
    number: u16,
    seal: Seal,
    /// The operations of [`Semaphore::try_take`] and [`Semaphore::give`].
    take: [sembuf; 4],
    give: [sembuf; 4],
}

/// The semaphore in a set that identifies the set, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seal {
    pub(crate) number: u16,
    pub(crate) value: u16,
}

impl Semaphore {
    pub(crate) const fn new(set: Set, number: u16, seal: Seal) -> Self {
        let [down_to_zero, is_zero, back_up] = seal.steps();
        let take = [step(number, -1, UNDO | NOW), down_to_zero, is_zero, back_up];
        let give = [step(number, 1, UNDO | NOW), down_to_zero, is_zero, back_up];
        Self { set, number, seal, take, give }
    }

    /// Takes the unit, if there is one and the set has the seal.
    #[inline]
    pub(crate) fn try_take(&self) -> Result<Outcome> {
        match sys::operate(self.set.id(), &self.take) {
            Ok(()) => Ok(Outcome::Done),
            failed => outcome(failed),
        }
    }

    /// Takes the unit, waiting for at most `duration`. The caller has checked the seal.
    pub(crate) fn take_within(&self, duration: Duration) -> Result<Outcome> {
        // One step, without the seal: the kernel checks a waiting operation of several steps at every change of the set.
        outcome(sys::operate_within(self.set.id(), &[step(self.number, -1, UNDO)], duration))
    }

    /// Gives the unit back that this process took, if the set has the seal.
    #[inline]
    pub(crate) fn give(&self) -> Result<Outcome> {
        match sys::operate(self.set.id(), &self.give) {
            Ok(()) => Ok(Outcome::Done),
            failed => outcome(failed),
        }
    }

    /// Puts the semaphore into the state of a lock that this process holds.
    ///
    /// Then the value is 0, and only this process has an undo adjustment for it.
    ///
    /// The state before does not matter. No process can take a unit during the call.
    pub(crate) fn arm(&self) -> Result<Outcome> {
        match self.check_seal()? {
            Outcome::Done => {}
            outcome => return Ok(outcome),
        }
        match sys::set_value(self.set.id(), self.number, 0) {
            Ok(()) => match self.operate(&[step(self.number, 1, NOW), step(self.number, -1, UNDO | NOW)]) {
                // The first step gives a unit, so only a different seal can cause EAGAIN.
                Err(Errno::EAGAIN) => Ok(Outcome::Gone),
                done => outcome(done),
            },
            failed => outcome(failed),
        }
    }

    /// Checks whether this process has taken the unit with undo, and it was not cleared.
    pub(crate) fn is_taken_by_us(&self) -> Result<bool> {
        self.adjust(HALF, HALF)
    }

    /// Gives the unit back if this process has taken it and it was not cleared. Returns whether it did.
    pub(crate) fn give_if_taken(&self) -> Result<bool> {
        self.adjust(HALF, HALF - 1)
    }

    /// Destroys the unit if this process has taken it and it was not cleared. Returns whether it did.
    pub(crate) fn destroy_if_taken(&self) -> Result<bool> {
        self.adjust(HALF - 1, HALF - 1)
    }

    /// Changes the value and the undo adjustment of this process, if the adjustment is at least 1.
    ///
    /// Returns whether it did.
    ///
    /// The kernel does not report the adjustment. But an operation fails with ERANGE when a step would move the adjustment out of
    /// the range of a `short`, −32,768 to 32,767. Let the adjustment be n. The first step changes it to n − `HALF`, and the third
    /// to n − 2 `HALF` − 1, which is n − 32,769. That is within the range only if n is at least 1.
    ///
    /// The first four steps leave the value unchanged and decrease the adjustment by `HALF`. The fifth step adds `raised` to the
    /// value. The sixth subtracts `lowered` from the value and adds it to the adjustment. All values stay within their range if
    /// the value is below `HALF` − 1.
    fn adjust(&self, raised: i16, lowered: i16) -> Result<bool> {
        let number = self.number;
        let done = self.operate(&[
            step(number, HALF, UNDO | NOW),
            step(number, -HALF, NOW),
            step(number, HALF + 1, UNDO | NOW),
            step(number, -HALF - 1, UNDO | NOW),
            step(number, raised, NOW),
            step(number, -lowered, UNDO | NOW),
        ]);
        match done {
            Err(Errno::ERANGE) => Ok(false),
            done => Ok(outcome(done)? == Outcome::Done),
        }
    }

    /// Checks that the set exists and has the seal.
    pub(crate) fn check_seal(&self) -> Result<Outcome> {
        match sys::value(self.set.id(), self.seal.number) {
            Ok(value) if value == self.seal.value => Ok(Outcome::Done),
            Ok(_) => Ok(Outcome::Gone),
            Err(errno) => outcome(Err(errno)),
        }
    }

    /// Executes the steps if none has to wait and the set has the seal.
    fn operate(&self, steps: &[sembuf]) -> Result<(), Errno> {
        sys::operate(self.set.id(), &[steps, &self.seal.steps()].concat())
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("set", &self.set)
            .field("number", &self.number)
            .field("seal", &self.seal)
            .finish_non_exhaustive()
    }
}

impl Seal {
    /// Returns steps that succeed only if the seal's semaphore has this value, and that leave it unchanged.
    #[inline]
    const fn steps(self) -> [sembuf; 3] {
        let value = self.value.cast_signed();
        [step(self.number, -value, NOW), step(self.number, 0, NOW), step(self.number, value, NOW)]
    }
}

/// Interprets the errno of a call on the semaphore of a lock.
///
/// The kernel returns an errno only if it executed no step.
#[cold]
fn outcome(done: Result<(), Errno>) -> Result<Outcome> {
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Outcome::NotDone),
        // EFBIG: the set is smaller than this store's, so it belongs to another program.
        Err(Errno::EINVAL | Errno::EIDRM | Errno::EFBIG) => Ok(Outcome::Gone),
        Err(Errno::EACCES | Errno::EPERM) => Ok(Outcome::Denied),
        Err(errno @ (Errno::ENOMEM | Errno::ENOSPC)) => Err(limits::no_memory_to_undo(errno)),
        Err(errno @ Errno::E2BIG) => Err(limits::too_many_steps(MAX_STEPS, errno)),
        Err(Errno::ERANGE) => {
            let reason = "a semaphore has a value that no lock has, because another program changed it";
            Err(Error::corrupt(reason))
        }
        Err(errno) => Err(Error::system("semop", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: Seal = Seal { number: 2, value: 0x5123 };

    /// A sealed set with two semaphores for locks. It is removed on drop.
    struct Fixture {
        set: Set,
        first: Semaphore,
        second: Semaphore,
    }

    impl Fixture {
        fn new() -> Self {
            let set = Set::find_or_create(libc::IPC_PRIVATE, 3, 0o600).unwrap().unwrap();
            sys::set_value(set.id(), SEAL.number, SEAL.value).unwrap();
            let [first, second] = [0, 1].map(|number| Semaphore::new(set, number, SEAL));
            Self { set, first, second }
        }

        fn value(&self) -> u16 {
            sys::value(self.set.id(), 0).unwrap()
        }

        fn set_value(&self, value: u16) {
            sys::set_value(self.set.id(), 0, value).unwrap();
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            self.set.remove().unwrap();
        }
    }

    #[test]
    fn an_armed_semaphore_is_taken_by_us_and_can_be_given_back() {
        let fixture = Fixture::new();
        let Fixture { first, second, .. } = &fixture;
        assert!(!first.is_taken_by_us().unwrap(), "this process has taken no unit");
        assert_eq!(first.try_take().unwrap(), Outcome::NotDone, "a new semaphore has no unit");
        assert_eq!(first.arm().unwrap(), Outcome::Done);
        assert!(first.is_taken_by_us().unwrap());
        assert!(!second.is_taken_by_us().unwrap(), "the other semaphore was armed as well");
        assert_eq!(first.try_take().unwrap(), Outcome::NotDone);
        assert_eq!(first.give().unwrap(), Outcome::Done);
        assert!(!first.is_taken_by_us().unwrap(), "the unit was given back");
        assert_eq!(first.try_take().unwrap(), Outcome::Done);
        assert!(first.is_taken_by_us().unwrap());
    }

    #[test]
    fn a_query_leaves_every_value_unchanged() {
        let fixture = Fixture::new();
        fixture.first.arm().unwrap();
        for (value, taken) in [(0, true), (1, true), (2, true)] {
            assert_eq!((fixture.value(), fixture.first.is_taken_by_us().unwrap()), (value, taken));
            assert_eq!(fixture.value(), value);
            // Another process gives a surplus unit.
            sys::operate(fixture.set.id(), &[step(0, 1, NOW)]).unwrap();
        }
        for value in [0, 1, 2] {
            fixture.set_value(value);
            assert!(!fixture.first.is_taken_by_us().unwrap(), "setting the value clears the undo adjustment");
            assert_eq!(fixture.value(), value);
        }
    }

    #[test]
    fn a_unit_is_given_back_or_destroyed_only_if_it_was_taken() {
        let fixture = Fixture::new();
        let semaphore = &fixture.first;
        for value in [0, 1] {
            fixture.set_value(value);
            assert!(!semaphore.give_if_taken().unwrap() && !semaphore.destroy_if_taken().unwrap());
            assert_eq!(fixture.value(), value);
            fixture.set_value(value + 1);
            assert_eq!(semaphore.try_take().unwrap(), Outcome::Done);
            assert!(semaphore.give_if_taken().unwrap());
            assert_eq!((fixture.value(), semaphore.is_taken_by_us().unwrap()), (value + 1, false));
            assert_eq!(semaphore.try_take().unwrap(), Outcome::Done);
            assert!(semaphore.destroy_if_taken().unwrap());
            assert_eq!((fixture.value(), semaphore.is_taken_by_us().unwrap()), (value, false));
        }
    }

    #[test]
    fn a_set_without_the_seal_is_not_changed() {
        let fixture = Fixture::new();
        let semaphore = &fixture.first;
        for seal in [SEAL.value - 1, SEAL.value + 1, 0] {
            sys::set_value(fixture.set.id(), SEAL.number, seal).unwrap();
            fixture.set_value(1);
            assert_eq!(semaphore.check_seal().unwrap(), Outcome::Gone);
            assert_eq!(semaphore.try_take().unwrap(), Outcome::NotDone);
            assert_eq!(semaphore.give().unwrap(), Outcome::NotDone);
            assert_eq!(semaphore.arm().unwrap(), Outcome::Gone);
            assert!(!semaphore.is_taken_by_us().unwrap() && !semaphore.give_if_taken().unwrap());
            assert_eq!((fixture.value(), sys::value(fixture.set.id(), SEAL.number).unwrap()), (1, seal));
        }
    }

    #[test]
    fn every_call_reports_a_removed_or_smaller_set_as_not_ours() {
        let smaller = Set::find_or_create(libc::IPC_PRIVATE, 1, 0o600).unwrap().unwrap();
        let removed = Set::find_or_create(libc::IPC_PRIVATE, 3, 0o600).unwrap().unwrap();
        removed.remove().unwrap();
        for set in [smaller, removed] {
            let semaphore = Semaphore::new(set, 0, SEAL);
            assert_eq!(semaphore.try_take().unwrap(), Outcome::Gone);
            assert_eq!(semaphore.give().unwrap(), Outcome::Gone);
            assert_eq!(semaphore.arm().unwrap(), Outcome::Gone);
            assert_eq!(semaphore.check_seal().unwrap(), Outcome::Gone);
            assert!(!semaphore.is_taken_by_us().unwrap());
        }
        assert_eq!(sys::value(smaller.id(), 0).unwrap(), 0);
        smaller.remove().unwrap();
    }
}
