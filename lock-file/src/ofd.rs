//! Locks on the whole of a file that belong to an open file description.

use std::os::fd::BorrowedFd;

use lock_core::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Takes the lock, if it is free. It may return an error of its own, EINVAL, where the kernel is older than Linux 3.15.
#[inline]
pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            // Some file systems ask a server, and can be interrupted.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes the lock, however long it takes.
pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLKW(&whole_file(libc::F_WRLCK))) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Gives the lock up; it is no error when nobody had it.
#[inline]
pub(crate) fn unlock(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What an errno of these calls means: ENOLCK is a limit, and the others are told as they are.
#[cold]
pub(crate) fn error(errno: Errno) -> Error {
    Error::refused("fcntl (open file description lock)", errno)
}

const fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 }
}
