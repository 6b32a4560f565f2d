//! A command under the lock of a file or a directory.

use std::path::Path;

use crate::exit::Failure;
use crate::path_lock::OpenFile;

use super::args::{Operation, Request, RunArgs};
use super::signals::Signals;
use super::verbose::Verbose;
use super::{Ended, acquire, child, environment};

pub(super) fn run(path: &Path, args: &RunArgs, request: &Request) -> Result<Ended, Failure> {
    let signals = Signals::prepare(false)?;
    let file = OpenFile::at(path)?;
    let verbose = Verbose::start(args.options.verbose);
    let file = match request.operation {
        Operation::Acquire(deadline) => acquire::acquire_file(file, &args.options, deadline)?,
        // As flock(1) does: this open file has no lock.
        Operation::Release => file,
    };
    verbose.acquired(&request.target, &request.command)?;
    if request.in_place {
        file.keep_across_exec()?;
        return Err(child::replace(&request.command, &environment::of_path(), &signals));
    }
    signals.block()?;
    let (status, _) = child::run(&request.command, &environment::of_path(), None, &signals)?;
    Ok(Ended::Command(status))
}
