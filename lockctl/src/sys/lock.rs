//! Locks on open files: the calls on descriptors, and the signal that interrupts a wait.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Calls flock(2).
pub(crate) fn flock(file: BorrowedFd<'_>, operation: libc::c_int) -> nix::Result<()> {
    // SAFETY: flock has no pointers, and the descriptor is open while it is borrowed.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}

/// Duplicates a descriptor of this number, which is an error if there is none. The duplicate is closed on `exec`.
pub(crate) fn inherited(number: i32) -> nix::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC has no pointers, and a number that is not open is an error.
    let duplicate = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Installs a handler that does nothing, so that the signal interrupts a system call and ends no process.
pub(crate) fn interrupt_calls_with(signal: Signal) -> nix::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler has no effect, so it is safe in signal context.
    unsafe { sigaction(signal, &action) }.map(drop)
}
