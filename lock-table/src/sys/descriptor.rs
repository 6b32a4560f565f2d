use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::file_id::FileId;

/// Closes a descriptor number if it refers to this file.
pub(crate) fn close_if(number: RawFd, file: FileId) {
    // SAFETY: the number is not -1. It may be closed or refer to another file: the borrow is only passed to `fstat`, which detects that.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if FileId::of(fd) == Ok(file) {
        let _ = nix::unistd::close(number);
    }
}

const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;

/// Sets the signal for asynchronous I/O (fcntl(2), F_SETSIG). It is sent only if `O_ASYNC` is set.
pub(crate) fn set_signal(fd: BorrowedFd<'_>, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the arguments of the call are numbers.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

/// Returns the signal for asynchronous I/O.
pub(crate) fn signal(fd: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
    // SAFETY: the arguments of the call are numbers.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETSIG) })
}
