//! Locks on the whole of a file that belong to an open file description.
//!
//! The range is given relative to the [mark](lock_table::descriptor) of the description, so that the kernel refuses when the program
//! closed the number and opened another file.

use lock_core::{Error, Result};
use lock_table::descriptor::Descriptor;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Takes the lock, if it is free. It may return an error of its own, EINVAL, where the kernel is older than Linux 3.15.
#[inline]
pub(crate) fn try_lock(file: &Descriptor) -> Result<bool, Errno> {
    match set(file, |range| FcntlArg::F_OFD_SETLK(range), libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Takes the lock, however long it takes.
pub(crate) fn lock(file: &Descriptor) -> Result<(), Errno> {
    set(file, |range| FcntlArg::F_OFD_SETLKW(range), libc::F_WRLCK)
}

/// Gives the lock up; it is no error when nobody had it.
#[inline]
pub(crate) fn unlock(file: &Descriptor) -> Result<(), Errno> {
    set(file, |range| FcntlArg::F_OFD_SETLK(range), libc::F_UNLCK)
}

#[inline]
fn set(file: &Descriptor, how: for<'a> fn(&'a libc::flock) -> FcntlArg<'a>, kind: libc::c_int) -> Result<(), Errno> {
    let range = file.range(kind, 0, 0);
    loop {
        match fcntl(file.unverified().ok_or(Errno::EBADF)?, how(&range)) {
            Ok(_) => return Ok(()),
            // Some file systems ask a server, and can be interrupted.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether an errno of these calls means that the number is not the file's any more.
#[cold]
pub(crate) fn is_closed(errno: Errno) -> bool {
    matches!(errno, Errno::EBADF | Errno::EINVAL | Errno::EOVERFLOW)
}

/// What an errno of these calls means: ENOLCK is a limit, and the others are told as they are.
#[cold]
pub(crate) fn error(errno: Errno) -> Error {
    Error::refused("lock (fcntl)", errno)
}
