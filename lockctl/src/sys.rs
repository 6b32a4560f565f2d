//! The unsafe code of this crate: locks on open files, signals with their raw numbers, a process that witnesses signals, setup of a child between
//! `fork` and `exec`, and the size of a terminal.
#![allow(unsafe_code)]

mod lock;
mod signal;
mod witness;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

pub(crate) use self::lock::{flock, inherited, interrupt_calls_with};
pub(crate) use self::signal::{
    IgnoredSignals, Received, catch_while_waiting, caught_while_waiting, end_by_signal, forward, receive, reset_sigchld,
    set_of_others, stop_catching, take_default_action,
};
pub(crate) use self::witness::Witness;

/// Returns whether the program has rights that its caller has not, because it is set-user-id, set-group-id or has capabilities.
pub(crate) fn is_privileged_program() -> bool {
    // SAFETY: the call takes a number only.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Makes the kernel kill the child when the spawning thread ends, and sets the child's signal mask and ignored signals.
///
/// The caller spawns from a thread that lives as long as the process. The setting does not apply to the child's own children, and a
/// set-user-id program clears it (`prctl(2)`).
pub(crate) fn bind_to_this_thread(command: &mut Command, blocked: SigSet, ignored: IgnoredSignals) {
    let parent = Pid::this();
    // SAFETY: the closure only calls prctl, getppid, sigaction and pthread_sigmask. In glibc and musl these are plain system calls: they
    // take no lock and allocate nothing, so they may run in the forked child of a multithreaded process.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The kernel sends no signal for a parent that died before that call.
            if getppid() != parent {
                return Err(io::Error::from(Errno::ESRCH));
            }
            ignored.restore_changed()?;
            blocked.thread_set_mask()?;
            Ok(())
        });
    }
}

/// Sets the signal mask and the ignored signals of a program that is executed in place of this one.
pub(crate) fn restore_signals(command: &mut Command, blocked: SigSet, ignored: IgnoredSignals) {
    // SAFETY: as above; the closure only calls sigaction and pthread_sigmask.
    unsafe {
        command.pre_exec(move || {
            ignored.restore_changed()?;
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
