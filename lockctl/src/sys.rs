//! The unsafe code of this crate: setup of a child between `fork` and `exec`, the action of SIGCHLD, and the size of a terminal.
#![allow(unsafe_code)]

mod lock;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{Pid, getppid};

pub(crate) use self::lock::{flock, inherited, interrupt_calls_with};

/// Makes the kernel kill the child when the spawning thread ends, and sets the child's signal mask.
///
/// The caller spawns from a thread that lives as long as the process. The setting does not apply to the child's own children, and a
/// set-user-id program clears it (`prctl(2)`).
pub(crate) fn bind_to_this_thread(command: &mut Command, blocked: SigSet) {
    let parent = Pid::this();
    // SAFETY: the closure only calls prctl, getppid and pthread_sigmask. In glibc and musl these are plain system calls: they take no
    // lock and allocate nothing, so they may run in the forked child of a multithreaded process.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The kernel sends no signal for a parent that died before that call.
            if getppid() != parent {
                return Err(io::Error::from(Errno::ESRCH));
            }
            blocked.thread_set_mask()?;
            Ok(())
        });
    }
}

/// Sets the default action of SIGCHLD, so that children can be waited for even if SIGCHLD was ignored when this program was started.
pub(crate) fn reset_sigchld() -> nix::Result<()> {
    // SAFETY: the default action installs no handler, so no code runs in signal context.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Returns the number of columns of a terminal, or `None` if it does not know it.
pub(crate) fn columns(terminal: impl AsFd) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the pointer, which is valid for the call. The descriptor is borrowed for that time.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}
