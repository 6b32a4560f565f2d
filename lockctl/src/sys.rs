//! The unsafe code of this crate: what a child does between `fork` and `exec`, and how its end is noticed.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{Pid, getppid};

/// Makes the kernel kill the child when the thread that spawns it ends, and start it with this set of blocked signals.
///
/// The caller spawns from a thread that lives as long as the process. A child that execs a set-user-id program loses the bond, and
/// its own children never have it: `prctl(2)`.
pub(crate) fn bind_to_this_thread(command: &mut Command, blocked: SigSet) {
    let parent = Pid::this();
    // SAFETY: the closure calls prctl, getppid and pthread_sigmask, and does nothing else: all of them are plain system calls in
    // glibc and musl, take no lock and allocate nothing, and so may run in the child of a process with threads.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // A parent that died before that call sends no signal any more.
            if getppid() != parent {
                return Err(io::Error::from(Errno::ESRCH));
            }
            blocked.thread_set_mask()?;
            Ok(())
        });
    }
}

/// Makes the ends of children wait to be collected, also where whoever started this program had SIGCHLD ignored.
pub(crate) fn heed_children() -> nix::Result<()> {
    // SAFETY: the default action is no handler, so no code of ours runs in a signal.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}
