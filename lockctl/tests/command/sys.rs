//! Settings of a child between `fork` and `exec`.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{alarm, setsid};

/// Sets the actions of all signals that can be set to `SIG_DFL` or `SIG_IGN`.
fn set_actions(action: libc::sighandler_t) {
    for signal in 1..=64 {
        // SAFETY: neither action installs a handler. An error leaves the action of the signal unchanged.
        unsafe { libc::signal(signal, action) };
    }
}

/// Starts the command with the default actions of all signals, whatever the caller of the tests ignores.
pub(crate) fn with_default_actions(command: &mut Command) {
    // SAFETY: the closure only calls signal, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            set_actions(libc::SIG_DFL);
            Ok(())
        });
    }
}

/// Starts the command with all signals ignored that can be.
#[cfg(all(feature = "file", feature = "sem"))]
pub(crate) fn with_ignored_signals(command: &mut Command) {
    // SAFETY: the closure only calls signal, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            set_actions(libc::SIG_IGN);
            Ok(())
        });
    }
}

/// Starts the command with an alarm after a second.
pub(crate) fn with_alarm(command: &mut Command) {
    // SAFETY: the closure only calls alarm, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            alarm::set(1);
            Ok(())
        });
    }
}

/// Starts the command as the leader of a session with this terminal, which becomes its stdin.
pub(crate) fn with_terminal(command: &mut Command, terminal: OwnedFd) {
    let number = terminal.as_raw_fd();
    // SAFETY: the closure only calls setsid and ioctl, which are async-signal-safe. The descriptor is open: stdin keeps it open.
    unsafe {
        command.stdin(terminal).pre_exec(move || {
            setsid()?;
            Errno::result(libc::ioctl(number, libc::TIOCSCTTY, 0))?;
            Ok(())
        });
    }
}
