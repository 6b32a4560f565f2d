//! System calls for open-file-description locks on a whole file ([`fcntl_locking(2)`]).
//!
//! A range is relative to the [mark](lock_table::descriptor) of the description. If the program has closed the number and opened
//! another file with it, the kernel refuses the call.
//!
//! [`fcntl_locking(2)`]: https://man7.org/linux/man-pages/man2/fcntl_locking.2.html

use lock_core::{Error, Result};
use lock_table::descriptor::Descriptor;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Locks the file if it is free. Returns whether the caller has the lock.
///
/// # Errors
/// EINVAL also means that the kernel is older than Linux 3.15.
#[inline]
pub(crate) fn try_lock(file: &Descriptor) -> Result<bool, Errno> {
    match set(file, |range| FcntlArg::F_OFD_SETLK(range), libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Locks the file, and blocks until it is free.
pub(crate) fn lock(file: &Descriptor) -> Result<(), Errno> {
    set(file, |range| FcntlArg::F_OFD_SETLKW(range), libc::F_WRLCK)
}

/// Unlocks the file. Succeeds also if the file is not locked.
#[inline]
pub(crate) fn unlock(file: &Descriptor) -> Result<(), Errno> {
    set(file, |range| FcntlArg::F_OFD_SETLK(range), libc::F_UNLCK)
}

/// Returns whether another description has the file locked.
pub(crate) fn is_locked(file: &Descriptor) -> Result<bool, Errno> {
    let mut range = file.range(libc::F_WRLCK, 0, 0);
    fcntl(file.unverified().ok_or(Errno::EBADF)?, FcntlArg::F_OFD_GETLK(&mut range))?;
    Ok(libc::c_int::from(range.l_type) != libc::F_UNLCK)
}

#[inline]
fn set(file: &Descriptor, how: for<'a> fn(&'a libc::flock) -> FcntlArg<'a>, kind: libc::c_int) -> Result<(), Errno> {
    let range = file.range(kind, 0, 0);
    loop {
        match fcntl(file.unverified().ok_or(Errno::EBADF)?, how(&range)) {
            Ok(_) => return Ok(()),
            // A signal interrupts a blocking call, and any call on a file system that asks a server.
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Checks whether an errno means that the number no longer belongs to the lock file.
#[cold]
pub(crate) fn is_closed(errno: Errno) -> bool {
    matches!(errno, Errno::EBADF | Errno::EINVAL | Errno::EOVERFLOW)
}

/// Converts an errno of these calls. ENOLCK is a limit of the system.
#[cold]
pub(crate) fn error(errno: Errno) -> Error {
    Error::system("lock (fcntl)", errno)
}
