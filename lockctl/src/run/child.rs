//! The command that runs under the lock.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};

use lock_any::Guard;

use crate::exit::{self, Failure};
use crate::sys::{self, Child};

use super::session::{self, Ending};
use super::signals::Signals;

/// Runs the command to its end, with these environment variables. Called from the main thread, whose end kills the command.
///
/// The signals are blocked.
pub(super) fn run(
    command: &[OsString],
    environment: &[(&str, Option<String>)],
    guard: Option<&Guard<'_>>,
    signals: &Signals,
) -> Result<(ExitStatus, Ending), Failure> {
    let spawned = Child::spawn(command, environment, signals.inherited_mask(), signals.ignored());
    let child = spawned.map_err(|error| unavailable(command, error))?;
    // Signals that arrived since the signals were blocked are forwarded, too.
    let mut forwarder = signals.forward_to(&child);
    let ending = match guard {
        Some(guard) => session::wait(&mut forwarder, guard),
        None => {
            forwarder.forward_until_end(None);
            Ending::Own
        }
    };
    let status =
        child.wait().map_err(|error| Failure::of_call("cannot wait for the command", error, exit::ExitStatus::SYSTEM))?;
    Ok((status, ending))
}

/// Executes the command in place of this process, with these environment variables. Returns only after a failure.
pub(super) fn replace(command: &[OsString], environment: &[(&str, Option<String>)], signals: &Signals) -> Failure {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]);
    for (name, value) in environment {
        match value {
            Some(value) => process.env(name, value),
            // Hides the variable of an outer run.
            None => process.env_remove(name),
        };
    }
    sys::restore_signals(&mut process, signals.inherited_mask(), signals.ignored());
    unavailable(command, process.exec())
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

/// Ends this process as the command has ended: by the same signal, or with its exit code.
///
/// A shell ends a loop only if a command died of SIGINT. A process that the signal cannot end exits with 128 plus its number.
pub(super) fn end_as(status: ExitStatus) -> ExitCode {
    match status.signal() {
        Some(signal) => end_by(signal),
        None => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// Ends this process by a signal, or returns 128 plus its number.
pub(super) fn end_by(signal: i32) -> ExitCode {
    sys::end_by_signal(signal);
    u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
}
