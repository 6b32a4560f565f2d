use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::file_id::FileId;

/// Closes the number if it is that file's.
pub(crate) fn close_if(number: RawFd, file: FileId) {
    // SAFETY: the number is not -1. It may be closed, or another file's: the borrow is only passed to `fstat`, which reports that.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if FileId::of(fd) == Ok(file) {
        let _ = nix::unistd::close(number);
    }
}

const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;

/// Sets the signal of asynchronous input and output, which is sent only where `O_ASYNC` is set.
pub(crate) fn set_signal(fd: BorrowedFd<'_>, signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }).map(drop)
}

pub(crate) fn signal(fd: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETSIG) })
}
