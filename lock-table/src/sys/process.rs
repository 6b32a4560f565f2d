//! System calls for processes that neither the standard library nor nix provides.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// Opens a descriptor that refers to a process (pidfd_open(2)).
pub(crate) fn pidfd_open(pid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the arguments of the call are numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Checks that a process has a thread (tgkill(2) with signal 0).
///
/// # Errors
/// ESRCH if it has not; EPERM if it has, and belongs to another user.
pub(crate) fn thread_exists(pid: u32, tid: u32) -> Result<(), Errno> {
    // SAFETY: the arguments of the call are numbers, and signal 0 is not delivered.
    Errno::result(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) }).map(drop)
}

/// Opens the PID namespace of a process (`PIDFD_GET_PID_NAMESPACE`, since Linux 6.11).
pub(crate) fn pid_namespace_of(pidfd: BorrowedFd<'_>) -> Result<File, Errno> {
    const PIDFD_GET_PID_NAMESPACE: u32 = 0xff05;
    // SAFETY: this request has no argument and returns a new descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_PID_NAMESPACE as _, 0) })?;
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Reads random bytes from the kernel (getrandom(2)). The call blocks only during early boot.
pub(crate) fn random(bytes: &mut [u8; 16]) -> Result<(), Errno> {
    loop {
        // SAFETY: the buffer is valid for writes of `bytes.len()` bytes.
        match Errno::result(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) }) {
            // The kernel always completes requests of up to 256 bytes.
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
