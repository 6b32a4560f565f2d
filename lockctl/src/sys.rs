//! The unsafe code of this crate: locks on open files, signals with their raw numbers, a process that witnesses signals, child processes that
//! execute a program, and the size of a terminal.
#![allow(unsafe_code)]

mod lock;
mod parent;
mod signal;
mod spawn;
mod witness;

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::signal::SigSet;

pub(crate) use self::lock::{flock, inherited, interrupt_calls_with};
pub(crate) use self::parent::bind_to_this_thread;
pub(crate) use self::signal::{
    IgnoredSignals, Received, catch_while_waiting, caught_while_waiting, end_by_signal, forward, receive, reset_sigchld,
    set_of_others, stop_catching, take_default_action,
};
pub(crate) use self::spawn::Child;
pub(crate) use self::witness::Witness;

/// Returns whether the program has rights that its caller has not, because it is set-user-id, set-group-id or has capabilities.
pub(crate) fn is_privileged_program() -> bool {
    // SAFETY: the call takes a number only.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Sets the signal mask and the ignored signals of a program that is executed in place of this one.
pub(crate) fn restore_signals(command: &mut Command, blocked: SigSet, ignored: IgnoredSignals) {
    // SAFETY: the closure only calls sigaction and pthread_sigmask. In glibc and musl these are plain system calls.
    unsafe {
        command.pre_exec(move || {
            ignored.set_for_program()?;
            blocked.thread_set_mask()?;
            Ok(())
        });
    }
}

/// Returns the number of columns of a terminal, or `None` if it does not know it.
pub(crate) fn columns(terminal: impl AsFd) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the pointer, which is valid for the call. The descriptor is borrowed for that time.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}
