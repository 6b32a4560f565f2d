//! The command that runs under the lock.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};

use lock_any::Guard;
use nix::unistd::Pid;

use crate::exit::{self, Failure};
use crate::sys;

use super::session;
use super::signals::Signals;

/// Runs the command to its end, with these environment variables. Called from the main thread, whose end kills the command.
pub(super) fn run(
    command: &[OsString],
    environment: &[(&str, Option<String>)],
    guard: Option<&Guard<'_>>,
    signals: &Signals,
) -> Result<ExitStatus, Failure> {
    let mut process = prepare(command, environment);
    sys::bind_to_this_thread(&mut process, signals.inherited_mask());
    let mut child = signals.forward_to(|| process.spawn()).map_err(|error| unavailable(command, error))?;
    let pid = Pid::from_raw(child.id() as i32);
    // The child stays a zombie, which reserves its pid, until forwarding has stopped.
    match guard {
        Some(guard) => session::wait(pid, guard),
        None => session::wait_for_end(pid),
    }
    signals.stop_forwarding();
    child.wait().map_err(|error| Failure::of_call("cannot wait for the command", error, exit::ExitStatus::SYSTEM))
}

/// Executes the command in place of this process, with these environment variables. Returns only after a failure.
pub(super) fn replace(command: &[OsString], environment: &[(&str, Option<String>)]) -> Failure {
    // An ignored SIGCHLD would be ignored in the command, too, as flock(1) avoids.
    let error = match sys::reset_sigchld() {
        Ok(()) => prepare(command, environment).exec(),
        Err(error) => error.into(),
    };
    unavailable(command, error)
}

fn prepare(command: &[OsString], environment: &[(&str, Option<String>)]) -> Command {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]);
    for (name, value) in environment {
        match value {
            Some(value) => process.env(name, value),
            // Hides the variable of an outer run.
            None => process.env_remove(name),
        };
    }
    process
}

fn unavailable(command: &[OsString], error: io::Error) -> Failure {
    let name = command[0].to_string_lossy();
    let advice = match error.kind() {
        io::ErrorKind::NotFound if name.starts_with('-') => "; an option comes before the lock",
        io::ErrorKind::NotFound => "; give its path, or add its directory to PATH",
        io::ErrorKind::PermissionDenied => "; give an executable file that this user may execute",
        _ => "",
    };
    let failure = Failure::of_call(&format!("{name} cannot be executed"), error, exit::ExitStatus::UNAVAILABLE);
    failure.with_advice(advice)
}

/// Returns the command's exit code, or 128 plus the signal that killed it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
