//! System calls about processes that neither the standard library nor nix has.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// A descriptor that refers to the process (`pidfd_open(2)`).
pub(crate) fn pidfd_open(pid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes numbers only.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends no signal: checks that the process has the thread. ESRCH if not, EPERM if it does and is another user's.
pub(crate) fn thread_exists(pid: u32, tid: u32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only, and signal 0 is not delivered.
    Errno::result(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) }).map(drop)
}

/// `PIDFD_GET_PID_NAMESPACE`, from Linux 6.11 on: a descriptor of the process's PID namespace.
pub(crate) fn pid_namespace_of(pidfd: BorrowedFd<'_>) -> Result<File, Errno> {
    const PIDFD_GET_PID_NAMESPACE: u32 = 0xff05;
    // SAFETY: this request takes no argument, and returns a new descriptor.
    let fd = Errno::result(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_PID_NAMESPACE as _, 0) })?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Random bytes from the kernel. It blocks only in early boot, and needs no file.
pub(crate) fn random(bytes: &mut [u8; 16]) -> Result<(), Errno> {
    loop {
        // SAFETY: the buffer is valid for as many bytes as the call is told.
        match Errno::result(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) }) {
            // Requests of up to 256 bytes are never cut short.
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
