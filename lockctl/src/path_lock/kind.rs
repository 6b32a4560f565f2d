//! The two kinds of locks of an open file description.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::sys;

/// A kind of lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The lock of flock(2), exclusive.
    Flock,
    /// The lock of fcntl(2) over the whole file, owned by the open file description.
    Record {
        /// False for a descriptor that is not open for writing: the lock is for reading.
        for_writing: bool,
    },
}

/// The action of an attempt on a lock that is busy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IfBusy {
    Return,
    Wait,
}

impl Kind {
    /// Acquires the lock. Returns false if it is busy.
    ///
    /// A file system without locks of fcntl(2) has none to exclude, so their absence counts as success.
    pub(super) fn acquire(self, file: BorrowedFd<'_>, if_busy: IfBusy) -> nix::Result<bool> {
        let result = match self {
            Self::Flock if if_busy == IfBusy::Wait => sys::flock(file, libc::LOCK_EX),
            Self::Flock => sys::flock(file, libc::LOCK_EX | libc::LOCK_NB),
            Self::Record { for_writing } => {
                let lock = whole_file(if for_writing { libc::F_WRLCK } else { libc::F_RDLCK });
                let call = if if_busy == IfBusy::Wait { FcntlArg::F_OFD_SETLKW(&lock) } else { FcntlArg::F_OFD_SETLK(&lock) };
                fcntl(file, call).map(drop)
            }
        };
        match (self, result) {
            (_, Ok(())) => Ok(true),
            (_, Err(Errno::EAGAIN)) | (Self::Record { .. }, Err(Errno::EACCES)) => Ok(false),
            (Self::Record { .. }, Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP)) => Ok(true),
            (_, Err(error)) => Err(error),
        }
    }

    /// Releases the lock, if it is held.
    pub(super) fn release(self, file: BorrowedFd<'_>) -> nix::Result<()> {
        match self {
            Self::Flock => sys::flock(file, libc::LOCK_UN),
            Self::Record { .. } => match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))) {
                Ok(_) | Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
