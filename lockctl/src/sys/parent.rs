//! A child that ends with its parent.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Makes the kernel kill the child when the spawning thread ends.
///
/// The caller spawns from a thread that lives as long as the process. The setting does not apply to the child's own children, and a
/// set-user-id program clears it (`prctl(2)`).
pub(crate) fn bind_to_this_thread(command: &mut Command) {
    let parent = Pid::this();
    // SAFETY: the closure calls `end_with` only, which is async-signal-safe.
    unsafe { command.pre_exec(move || Ok(end_with(parent)?)) };
}

/// Makes the kernel kill this process when the thread ends that has started it, in the process `parent`.
///
/// Async-signal-safe: in glibc and musl, both calls are plain system calls.
pub(super) fn end_with(parent: Pid) -> nix::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The kernel sends no signal for a parent that died before that call.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}
