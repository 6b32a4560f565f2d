//! A command under the lock of a file or a directory.

use std::path::Path;
use std::process::ExitCode;

use crate::exit::Failure;
use crate::path_lock::OpenFile;

use super::acquire::NOTICE_AFTER;
use super::args::{Operation, Request, RunArgs};
use super::signals::Signals;
use super::verbose::Verbose;
use super::{child, environment};

pub(super) fn run(path: &Path, args: &RunArgs, request: &Request) -> Result<ExitCode, Failure> {
    let file = OpenFile::at(path)?;
    // A command in place of lockctl has the signals of lockctl.
    let signals = if request.in_place { None } else { Some(watched_signals()?) };
    let verbose = Verbose::start(args.options.verbose);
    let file = match request.operation {
        Operation::Acquire(deadline) => file.acquire(deadline, args.options.conflict_exit_code, NOTICE_AFTER)?,
        // As flock(1) does: this open file has no lock.
        Operation::Release => file,
    };
    verbose.acquired(&request.target, &request.command)?;
    match &signals {
        None => {
            file.keep_across_exec()?;
            Err(child::replace(&request.command, &environment::of_path()))
        }
        Some(signals) => Ok(child::exit_code(child::run(&request.command, &environment::of_path(), None, signals)?)),
    }
}

fn watched_signals() -> Result<Signals, Failure> {
    let signals = Signals::take()?;
    signals.watch(|| ())?;
    Ok(signals)
}
