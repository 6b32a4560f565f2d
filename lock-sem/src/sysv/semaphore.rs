//! The semaphore of a lock, in a set that is recognised by its seal.
//!
//! The number of a set means another program's set in another IPC namespace, and a thread may change its namespace at any time.
//! So an operation that changes the set also compares the seal, in one step for the kernel: on another set it changes nothing.
//! The calls that cannot do that are made after [`Semaphore::check_seal`] by the same thread, which cannot change its namespace
//! in between.

use std::fmt;
use std::time::Duration;

use libc::sembuf;
use lock_core::{Error, ErrorKind, Result};
use nix::errno::Errno;

use super::limits;
use super::set::{Outcome, Set};
use crate::sys::{self, step};

const UNDO: i32 = libc::SEM_UNDO;
const NOW: i32 = libc::IPC_NOWAIT;

/// Half of the range of what the kernel undoes: see [`Semaphore::adjust`].
const HALF: i16 = 1 << 14;

/// Steps of the longest operation.
const MOST_STEPS: usize = 9;

/// The semaphore of a lock. It has one unit when the lock is free.
#[derive(Clone, Copy)]
pub(crate) struct Semaphore {
    set: Set,
    number: u16,
    seal: Seal,
    /// The operations of [`Semaphore::try_take`] and [`Semaphore::give`].
    take: [sembuf; 4],
    give: [sembuf; 4],
}

/// A semaphore that is no lock, and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seal {
    pub(crate) number: u16,
    pub(crate) value: u16,
}

impl Semaphore {
    pub(crate) const fn new(set: Set, number: u16, seal: Seal) -> Self {
        let [at_least, no_more, as_before] = seal.steps();
        let take = [step(number, -1, UNDO | NOW), at_least, no_more, as_before];
        let give = [step(number, 1, UNDO | NOW), at_least, no_more, as_before];
        Self { set, number, seal, take, give }
    }

    /// Takes the unit, if it is there. It is not done in a set without the seal, either.
    #[inline]
    pub(crate) fn try_take(&self) -> Result<Outcome> {
        match sys::operate(self.set.id(), &self.take) {
            Ok(()) => Ok(Outcome::Done),
            failed => outcome(failed),
        }
    }

    /// Takes the unit, waiting for no longer than this. For a thread that has just found that the set has its seal.
    pub(crate) fn take_within(&self, duration: Duration) -> Result<Outcome> {
        // Without the seal: while an operation of several steps waits, the kernel checks it whenever any semaphore of the set
        // changes.
        outcome(sys::operate_within(self.set.id(), &[step(self.number, -1, UNDO)], duration))
    }

    /// Gives the unit back, which this process took. It is not done in a set without the seal.
    #[inline]
    pub(crate) fn give(&self) -> Result<Outcome> {
        match sys::operate(self.set.id(), &self.give) {
            Ok(()) => Ok(Outcome::Done),
            failed => outcome(failed),
        }
    }

    /// Brings the semaphore, whatever became of it, into the state that it has when this process has taken the unit: the
    /// value 0, an undo of this process's, and none of any other's. No process can take the unit at any moment of this.
    pub(crate) fn arm(&self) -> Result<Outcome> {
        match self.check_seal()? {
            Outcome::Done => {}
            outcome => return Ok(outcome),
        }
        match sys::set_value(self.set.id(), self.number, 0) {
            Ok(()) => match self.operate(&[step(self.number, 1, NOW), step(self.number, -1, UNDO | NOW)]) {
                // It is not for want of a unit.
                Err(Errno::EAGAIN) => Ok(Outcome::NotOurs),
                done => outcome(done),
            },
            failed => outcome(failed),
        }
    }

    /// Whether this process has taken the unit and would give it back by dying.
    pub(crate) fn is_taken_by_us(&self) -> Result<bool> {
        self.adjust(HALF, HALF)
    }

    /// Gives the unit back, if this process has taken it and it was not cleared since. Says whether.
    pub(crate) fn give_if_taken(&self) -> Result<bool> {
        self.adjust(HALF, HALF - 1)
    }

    /// Destroys the unit, if this process has taken it and it was not cleared since. Says whether.
    pub(crate) fn destroy_if_taken(&self) -> Result<bool> {
        self.adjust(HALF - 1, HALF - 1)
    }

    /// Adds `raised` to the value, and takes `lowered` from it with undo, after `HALF` was added with undo and taken without; if
    /// this process has a unit to give back, and not otherwise.
    ///
    /// The kernel does not tell what it would undo, but it refuses to let that grow out of the range of a short, which is −32,768
    /// to 32,767. With n units to give back, the first step makes it n − `HALF`, and the third n − 2 `HALF` − 1, which is n −
    /// 32,769: that is in range only when n is at least 1. The value stays in its range for as long as it is less than `HALF`.
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

    /// Checks that the set is there and has its seal.
    pub(crate) fn check_seal(&self) -> Result<Outcome> {
        match sys::value(self.set.id(), self.seal.number) {
            Ok(value) if value == self.seal.value => Ok(Outcome::Done),
            Ok(_) => Ok(Outcome::NotOurs),
            Err(errno) => outcome(Err(errno)),
        }
    }

    /// How many wait for the unit.
    pub(crate) fn waiters(&self) -> Option<u32> {
        match self.check_seal() {
            Ok(Outcome::Done) => sys::waiters(self.set.id(), self.number).ok(),
            _ => None,
        }
    }

    /// Does these steps, if that needs no waiting, and if the set has the seal.
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
    /// Steps that are possible only where the semaphore has this value, and that leave it as it is.
    #[inline]
    const fn steps(self) -> [sembuf; 3] {
        let value = self.value.cast_signed();
        [step(self.number, -value, NOW), step(self.number, 0, NOW), step(self.number, value, NOW)]
    }
}

/// The errnos of the calls on the semaphore of a lock. None of them is returned by the kernel for an operation
/// that was done: an operation is done as a whole, or not at all.
#[cold]
fn outcome(done: Result<(), Errno>) -> Result<Outcome> {
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Outcome::NotDone),
        // EFBIG: the set has fewer semaphores.
        Err(Errno::EINVAL | Errno::EIDRM | Errno::EFBIG) => Ok(Outcome::NotOurs),
        Err(Errno::EACCES | Errno::EPERM) => Ok(Outcome::Denied),
        Err(errno @ (Errno::ENOMEM | Errno::ENOSPC)) => Err(limits::no_memory_to_undo(errno)),
        Err(errno @ Errno::E2BIG) => Err(limits::too_many_steps(MOST_STEPS, errno)),
        Err(Errno::ERANGE) => {
            let reason = "the value of a semaphore is not what a lock can have: another program changed it";
            Err(ErrorKind::Corrupt { reason: reason.to_owned() }.into())
        }
        Err(errno) => Err(Error::system("semop", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAL: Seal = Seal { number: 2, value: 0x5123 };

    /// A sealed set with two semaphores of locks, removed with the value.
    struct Fixture {
        set: Set,
        first: Semaphore,
        second: Semaphore,
    }

    impl Fixture {
        fn new() -> Self {
            let set = Set::find_or_make(libc::IPC_PRIVATE, 3, 0o600).unwrap().unwrap();
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
        assert!(!first.is_taken_by_us().unwrap(), "this process took nothing");
        assert_eq!(first.try_take().unwrap(), Outcome::NotDone, "a fresh semaphore has nothing to take");
        assert_eq!(first.arm().unwrap(), Outcome::Done);
        assert!(first.is_taken_by_us().unwrap());
        assert!(!second.is_taken_by_us().unwrap(), "another semaphore is not concerned");
        assert_eq!(first.try_take().unwrap(), Outcome::NotDone);
        assert_eq!(first.give().unwrap(), Outcome::Done);
        assert!(!first.is_taken_by_us().unwrap(), "it was given back");
        assert_eq!(first.try_take().unwrap(), Outcome::Done);
        assert!(first.is_taken_by_us().unwrap());
    }

    #[test]
    fn a_query_changes_nothing_whatever_the_value() {
        let fixture = Fixture::new();
        fixture.first.arm().unwrap();
        for (value, taken) in [(0, true), (1, true), (2, true)] {
            assert_eq!((fixture.value(), fixture.first.is_taken_by_us().unwrap()), (value, taken));
            assert_eq!(fixture.value(), value);
            // As another process does that gives a unit too many.
            sys::operate(fixture.set.id(), &[step(0, 1, NOW)]).unwrap();
        }
        for value in [0, 1, 2] {
            fixture.set_value(value);
            assert!(!fixture.first.is_taken_by_us().unwrap(), "setting the value clears what was taken");
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
            assert_eq!(semaphore.check_seal().unwrap(), Outcome::NotOurs);
            assert_eq!(semaphore.try_take().unwrap(), Outcome::NotDone);
            assert_eq!(semaphore.give().unwrap(), Outcome::NotDone);
            assert_eq!(semaphore.arm().unwrap(), Outcome::NotOurs);
            assert!(!semaphore.is_taken_by_us().unwrap() && !semaphore.give_if_taken().unwrap());
            assert_eq!((fixture.value(), sys::value(fixture.set.id(), SEAL.number).unwrap()), (1, seal));
        }
    }

    #[test]
    fn a_set_that_was_removed_and_one_that_is_smaller_are_not_ours_in_every_call() {
        let smaller = Set::find_or_make(libc::IPC_PRIVATE, 1, 0o600).unwrap().unwrap();
        let removed = Set::find_or_make(libc::IPC_PRIVATE, 3, 0o600).unwrap().unwrap();
        removed.remove().unwrap();
        for set in [smaller, removed] {
            let semaphore = Semaphore::new(set, 0, SEAL);
            assert_eq!(semaphore.try_take().unwrap(), Outcome::NotOurs);
            assert_eq!(semaphore.give().unwrap(), Outcome::NotOurs);
            assert_eq!(semaphore.arm().unwrap(), Outcome::NotOurs);
            assert_eq!(semaphore.check_seal().unwrap(), Outcome::NotOurs);
            assert!(!semaphore.is_taken_by_us().unwrap());
        }
        assert_eq!(sys::value(smaller.id(), 0).unwrap(), 0);
        smaller.remove().unwrap();
    }
}
