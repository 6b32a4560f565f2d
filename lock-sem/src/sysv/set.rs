//! A set of semaphores: one for each lock of a run of ids, and behind them those that say whose the set is.
//!
//! What each errno of each call means is written down here, and nowhere else. None of them is returned by the kernel for an operation
//! that was done: an operation is done as a whole, or not at all.

use std::time::Duration;

use lock_core::{Error, ErrorKind, Result};
use nix::errno::Errno;

use super::identity::{self, Identity};
use super::limits;
use crate::sys::{self, SetStatus, step};

const UNDO: i32 = libc::SEM_UNDO;
const NOW: i32 = libc::IPC_NOWAIT;

/// What an operation came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// It was not: it would have to wait, or waited for long enough, or a signal came.
    NotDone,
    /// The set was removed.
    Gone,
}

/// A set, by the kernel's number for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Set {
    id: i32,
}

impl Set {
    pub(crate) const fn of_id(id: i32) -> Self {
        Self { id }
    }

    pub(crate) const fn id(self) -> i32 {
        self.id
    }

    /// The set with this key, made if there is none; `None` when the key is somebody else's.
    pub(crate) fn find_or_make(key: i32, semaphores: u16, mode: u32) -> Result<Option<Self>> {
        match sys::find_or_make(key, semaphores, mode) {
            Ok(id) => Ok(Some(Self { id })),
            Err(errno @ Errno::EINVAL) if !limits::allow_sets_of(semaphores) => Err(limits::too_many_in_a_set(semaphores, errno)),
            // There is one that is smaller, or that we may not use.
            Err(Errno::EINVAL | Errno::EACCES) => Ok(None),
            Err(errno @ Errno::ENOSPC) => Err(limits::no_room_for_another_set(semaphores, errno)),
            Err(errno @ Errno::ENOMEM) => Err(limits::no_memory_for_a_set(errno)),
            Err(errno) => Err(Error::system("semget", errno)),
        }
    }

    /// The set with this key, if there is one that we may use.
    pub(crate) fn find(key: i32) -> Result<Option<Self>> {
        match sys::find(key) {
            Ok(id) => Ok(Some(Self { id })),
            Err(Errno::ENOENT | Errno::EACCES) => Ok(None),
            Err(errno) => Err(Error::system("semget", errno)),
        }
    }

    /// What the kernel says of it; `None` when it was removed, or is one that we may not even look at.
    pub(crate) fn status(self) -> Result<Option<SetStatus>> {
        match sys::status(self.id) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::EINVAL | Errno::EIDRM | Errno::EACCES) => Ok(None),
            Err(errno) => Err(Error::system("semctl IPC_STAT", errno)),
        }
    }

    /// Has it belong to this user and group, with this mode, as far as the system lets us.
    pub(crate) fn give_away(self, uid: u32, gid: u32, mode: u32) {
        // Where that is refused, those who may open the store's file and not its sets are told so when they try.
        let _ = sys::give_away(self.id, uid, gid, mode);
    }

    /// Writes the identity into a set that says nothing yet. Not done means that it says something.
    pub(crate) fn introduce(self, identity: Identity, locks: u16) -> Result<Outcome> {
        let mut steps = identity.steps(locks);
        match sys::operate(self.id, &mut steps) {
            Ok(()) => Ok(Outcome::Done),
            Err(Errno::EAGAIN) => Ok(Outcome::NotDone),
            Err(Errno::EINVAL | Errno::EIDRM) => Ok(Outcome::Gone),
            Err(errno @ Errno::E2BIG) => Err(limits::too_many_steps(steps.len(), errno)),
            Err(errno @ Errno::ENOMEM) => Err(limits::no_memory_for_a_set(errno)),
            // Values that are too large already, or a set that is too small: not one of ours.
            Err(Errno::ERANGE | Errno::EFBIG | Errno::EACCES) => Ok(Outcome::NotDone),
            Err(errno) => Err(Error::system("semop", errno)),
        }
    }

    /// Whose it is; `None` when it does not say, or was removed.
    pub(crate) fn identity(self, locks: u16) -> Result<Option<Identity>> {
        let mut values = [0; identity::LEN as usize];
        for (value, at) in values.iter_mut().zip(locks..) {
            match sys::value(self.id, at) {
                Ok(read) => *value = read,
                Err(Errno::EINVAL | Errno::EIDRM | Errno::EACCES) => return Ok(None),
                Err(errno) => return Err(Error::system("semctl GETVAL", errno)),
            }
        }
        Ok(Identity::read(values))
    }

    /// Removes it, if it is still there.
    pub(crate) fn remove(self) -> Result<()> {
        match sys::remove(self.id) {
            Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => Ok(()),
            Err(errno) => Err(Error::system("semctl IPC_RMID", errno)),
        }
    }

    /// Takes the unit of a lock, if it is there.
    #[inline]
    pub(crate) fn try_take(self, lock: u16) -> Result<Outcome> {
        let done = sys::operate(self.id, &mut [step(lock, -1, UNDO | NOW)]);
        if done.is_ok() { Ok(Outcome::Done) } else { outcome(done) }
    }

    /// Takes the unit of a lock, waiting for no longer than this.
    pub(crate) fn take_within(self, lock: u16, duration: Duration) -> Result<Outcome> {
        outcome(sys::operate_within(self.id, &mut [step(lock, -1, UNDO)], duration))
    }

    /// Gives the unit of a lock back, which this process took.
    #[inline]
    pub(crate) fn give(self, lock: u16) -> Result<Outcome> {
        let done = sys::operate(self.id, &mut [step(lock, 1, UNDO | NOW)]);
        if done.is_ok() { Ok(Outcome::Done) } else { outcome(done) }
    }

    /// Brings the semaphore of a lock, whatever became of it, into the state that it has when this process has taken the unit: the
    /// value 0, an undo of this process's, and none of any other's. Nobody can take the unit at any moment of this.
    pub(crate) fn arm(self, lock: u16) -> Result<Outcome> {
        match sys::set_value(self.id, lock, 0) {
            Ok(()) => outcome(sys::operate(self.id, &mut [step(lock, 1, NOW), step(lock, -1, UNDO | NOW)])),
            Err(Errno::EINVAL | Errno::EIDRM) => Ok(Outcome::Gone),
            Err(errno) => Err(Error::system("semctl SETVAL", errno)),
        }
    }

    /// Whether this process has taken the unit and would give it back by dying.
    ///
    /// The kernel does not tell what it would undo, but it refuses to let that grow out of the range of a short, which is −32,768 to
    /// 32,767. With n units to give back, the first step makes it n − 32,767, and the third n − 32,769: that is in range only when n is
    /// at least 1. The other steps take everything back. The value is 0 before and after, or else the first step is out of range.
    pub(crate) fn is_taken_by_us(self, lock: u16) -> Result<bool> {
        const MAX: i16 = i16::MAX;
        let mut steps = [
            step(lock, MAX, UNDO | NOW),
            step(lock, -MAX, NOW),
            step(lock, 2, UNDO | NOW),
            step(lock, -2, UNDO | NOW),
            step(lock, MAX, NOW),
            step(lock, -MAX, UNDO | NOW),
        ];
        match sys::operate(self.id, &mut steps) {
            Ok(()) => Ok(true),
            Err(Errno::ERANGE | Errno::EINVAL | Errno::EIDRM) => Ok(false),
            Err(errno @ Errno::E2BIG) => Err(limits::too_many_steps(steps.len(), errno)),
            Err(errno @ (Errno::ENOMEM | Errno::ENOSPC)) => Err(limits::no_memory_to_undo(errno)),
            Err(errno) => Err(Error::system("semop", errno)),
        }
    }

    /// How many wait for the unit of a lock.
    pub(crate) fn waiters(self, lock: u16) -> Option<u32> {
        sys::waiters(self.id, lock).ok()
    }
}

/// The errnos of `semop` and `semtimedop` on the semaphore of a lock.
#[cold]
fn outcome(done: Result<(), Errno>) -> Result<Outcome> {
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Outcome::NotDone),
        Err(Errno::EINVAL | Errno::EIDRM) => Ok(Outcome::Gone),
        Err(errno @ (Errno::ENOMEM | Errno::ENOSPC)) => Err(limits::no_memory_to_undo(errno)),
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

    /// A set that nobody else finds, removed with the value.
    struct Private(Set);

    impl Private {
        fn new() -> Self {
            Self(Set::find_or_make(libc::IPC_PRIVATE, 3, 0o600).unwrap().unwrap())
        }
    }

    impl Drop for Private {
        fn drop(&mut self) {
            self.0.remove().unwrap();
        }
    }

    #[test]
    fn an_armed_semaphore_is_taken_by_us_and_can_be_given_back() {
        let Private(set) = &Private::new();
        assert!(!set.is_taken_by_us(0).unwrap(), "nobody took anything");
        assert_eq!(set.try_take(0).unwrap(), Outcome::NotDone, "a fresh semaphore has nothing to take");
        assert_eq!(set.arm(0).unwrap(), Outcome::Done);
        assert!(set.is_taken_by_us(0).unwrap());
        assert!(!set.is_taken_by_us(1).unwrap(), "another semaphore is not concerned");
        assert_eq!(set.try_take(0).unwrap(), Outcome::NotDone);
        assert_eq!(set.give(0).unwrap(), Outcome::Done);
        assert!(!set.is_taken_by_us(0).unwrap(), "it was given back");
        assert_eq!(set.try_take(0).unwrap(), Outcome::Done);
        assert!(set.is_taken_by_us(0).unwrap());
    }

    #[test]
    fn asking_changes_nothing() {
        let Private(set) = &Private::new();
        set.arm(0).unwrap();
        for _ in 0..3 {
            assert!(set.is_taken_by_us(0).unwrap());
            assert_eq!(sys::value(set.id(), 0).unwrap(), 0);
        }
        set.give(0).unwrap();
        for _ in 0..3 {
            assert!(!set.is_taken_by_us(0).unwrap());
            assert_eq!(sys::value(set.id(), 0).unwrap(), 1);
        }
    }

    #[test]
    fn setting_the_value_clears_what_was_taken() {
        let Private(set) = &Private::new();
        set.arm(0).unwrap();
        sys::set_value(set.id(), 0, 0).unwrap();
        assert!(!set.is_taken_by_us(0).unwrap(), "the undo was cleared");
    }

    #[test]
    fn a_removed_set_is_gone_in_every_call() {
        let set = Private::new().0;
        assert_eq!(set.try_take(0).unwrap(), Outcome::Gone);
        assert_eq!(set.give(0).unwrap(), Outcome::Gone);
        assert_eq!(set.arm(0).unwrap(), Outcome::Gone);
        assert_eq!(set.status().unwrap(), None);
        assert!(!set.is_taken_by_us(0).unwrap());
        set.remove().unwrap();
    }

    #[test]
    fn of_two_identities_the_first_stays() {
        let set = Set::find_or_make(libc::IPC_PRIVATE, 2 + identity::LEN, 0o600).unwrap().unwrap();
        let [first, second] = [1, 2].map(|run| Identity { store: lock_core::StoreId::new(7), run });
        assert_eq!(set.identity(2).unwrap(), None);
        assert_eq!(set.introduce(first, 2).unwrap(), Outcome::Done);
        assert_eq!(set.introduce(second, 2).unwrap(), Outcome::NotDone);
        assert_eq!(set.identity(2).unwrap(), Some(first));
        set.remove().unwrap();
    }
}
