//! Semaphore sets.
//!
//! A set contains one semaphore for each lock of a run of ids, and after them the semaphores of the identity.
//!
//! This file interprets the errnos of all calls on a whole set.

use lock_core::{Error, Result};
use nix::errno::Errno;

use super::identity::{self, Identity};
use super::limits;
use crate::sys::{self, SetStatus};

/// The result of an operation on a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The kernel executed the operation.
    Done,
    /// The kernel did not execute it.
    ///
    /// It would have to wait, the time-out passed, or a signal interrupted it.
    NotDone,
    /// The set was removed, or its id belongs to a set of another program.
    Gone,
    /// This user may not change the set.
    Denied,
}

/// A semaphore set, identified by the kernel's id for it.
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

    /// Finds or creates the set with this key. Returns `None` if another program uses the key.
    pub(crate) fn find_or_create(key: i32, semaphores: u16, mode: u32) -> Result<Option<Self>> {
        match sys::find_or_create(key, semaphores, mode) {
            Ok(id) => Ok(Some(Self { id })),
            Err(errno @ Errno::EINVAL) if !limits::allow_sets_of(semaphores) => Err(limits::too_many_in_a_set(semaphores, errno)),
            // The set exists, and is smaller or denied to this user.
            Err(Errno::EINVAL | Errno::EACCES) => Ok(None),
            Err(errno @ Errno::ENOSPC) => Err(limits::no_room_for_another_set(semaphores, errno)),
            Err(errno @ Errno::ENOMEM) => Err(limits::no_memory_for_a_set(errno)),
            Err(errno) => Err(Error::system("semget", errno)),
        }
    }

    /// Finds the set with this key, if it exists and this user may use it.
    pub(crate) fn find(key: i32) -> Result<Option<Self>> {
        match sys::find(key) {
            Ok(id) => Ok(Some(Self { id })),
            Err(Errno::ENOENT | Errno::EACCES) => Ok(None),
            Err(errno) => Err(Error::system("semget", errno)),
        }
    }

    /// Reads the kernel's description of the set.
    ///
    /// Returns `None` if the set was removed or this user may not read it.
    pub(crate) fn status(self) -> Result<Option<SetStatus>> {
        match sys::status(self.id) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::EINVAL | Errno::EIDRM | Errno::EACCES) => Ok(None),
            Err(errno) => Err(Error::system("semctl IPC_STAT", errno)),
        }
    }

    /// Checks whether this user may not read the set.
    pub(crate) fn is_denied(self) -> bool {
        sys::status(self.id).is_err_and(|errno| errno == Errno::EACCES)
    }

    /// Sets the user, group and mode of the set, if the kernel permits it.
    pub(crate) fn set_owner(self, uid: u32, gid: u32, mode: u32) {
        // If the kernel refuses, users that may open the store but not use its sets get EACCES at an acquisition.
        let _ = sys::set_owner(self.id, uid, gid, mode);
    }

    /// Writes the identity into a new set. [`Outcome::NotDone`] means that the set has an identity already.
    pub(crate) fn write_identity(self, identity: Identity, locks: u16) -> Result<Outcome> {
        let steps = identity.steps(locks);
        match sys::operate(self.id, &steps) {
            Ok(()) => Ok(Outcome::Done),
            Err(Errno::EAGAIN) => Ok(Outcome::NotDone),
            Err(Errno::EINVAL | Errno::EIDRM) => Ok(Outcome::Gone),
            Err(errno @ Errno::E2BIG) => Err(limits::too_many_steps(steps.len(), errno)),
            Err(errno @ Errno::ENOMEM) => Err(limits::no_memory_for_a_set(errno)),
            // The set of another program: its values are too large, it is too small, or it is denied to this user.
            Err(Errno::ERANGE | Errno::EFBIG | Errno::EACCES) => Ok(Outcome::NotDone),
            Err(errno) => Err(Error::system("semop", errno)),
        }
    }

    /// Reads the identity. Returns `None` if the set has none or was removed.
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

    /// Removes the set. Succeeds also if it does not exist.
    pub(crate) fn remove(self) -> Result<()> {
        match sys::remove(self.id) {
            Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => Ok(()),
            Err(errno) => Err(Error::system("semctl IPC_RMID", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_identity_does_not_replace_the_first() {
        let set = Set::find_or_create(libc::IPC_PRIVATE, 2 + identity::LEN, 0o600).unwrap().unwrap();
        let [first, second] = [1, 2].map(|run| Identity::new(lock_core::StoreId::new(7), (1, 2), run));
        assert_eq!(set.identity(2).unwrap(), None);
        assert_eq!(set.write_identity(first, 2).unwrap(), Outcome::Done);
        assert_eq!(set.write_identity(second, 2).unwrap(), Outcome::NotDone);
        assert_eq!(set.identity(2).unwrap(), Some(first));
        set.remove().unwrap();
    }
}
