//! A set of semaphores: one for each lock of a run of ids, and behind them those that say whose the set is.
//!
//! What each errno of each call on a whole set means is written down here, and nowhere else.

use lock_core::{Error, Result};
use nix::errno::Errno;

use super::identity::{self, Identity};
use super::limits;
use crate::sys::{self, SetStatus};

/// The result of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// It was not: it would have to wait, or waited for long enough, or a signal came.
    NotDone,
    /// The set was removed, or the number means another program's set.
    NotOurs,
    /// This user may not change the set.
    Denied,
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

    /// Whether it is one that we may not even look at.
    pub(crate) fn is_denied(self) -> bool {
        sys::status(self.id).is_err_and(|errno| errno == Errno::EACCES)
    }

    /// Has it belong to this user and group, with this mode, as far as the system lets us.
    pub(crate) fn give_away(self, uid: u32, gid: u32, mode: u32) {
        // Where that is refused, those who may open the store's file and not its sets are told so when they try.
        let _ = sys::give_away(self.id, uid, gid, mode);
    }

    /// Writes the identity into a set that says nothing yet. Not done means that it says something.
    pub(crate) fn introduce(self, identity: Identity, locks: u16) -> Result<Outcome> {
        let steps = identity.steps(locks);
        match sys::operate(self.id, &steps) {
            Ok(()) => Ok(Outcome::Done),
            Err(Errno::EAGAIN) => Ok(Outcome::NotDone),
            Err(Errno::EINVAL | Errno::EIDRM) => Ok(Outcome::NotOurs),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_identities_the_first_stays() {
        let set = Set::find_or_make(libc::IPC_PRIVATE, 2 + identity::LEN, 0o600).unwrap().unwrap();
        let [first, second] = [1, 2].map(|run| Identity::new(lock_core::StoreId::new(7), (1, 2), run));
        assert_eq!(set.identity(2).unwrap(), None);
        assert_eq!(set.introduce(first, 2).unwrap(), Outcome::Done);
        assert_eq!(set.introduce(second, 2).unwrap(), Outcome::NotDone);
        assert_eq!(set.identity(2).unwrap(), Some(first));
        set.remove().unwrap();
    }
}
