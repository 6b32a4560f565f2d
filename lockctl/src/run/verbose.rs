//! `--verbose`: the lines that flock(1) prints, and the meaning of the lock.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use crate::exit::Failure;
use crate::output;
use crate::target::Target;

/// The time at which an acquisition started; `None` without `--verbose`.
pub(super) struct Verbose(Option<Instant>);

impl Verbose {
    pub(super) fn start(is_verbose: bool) -> Self {
        Self(is_verbose.then(Instant::now))
    }

    /// Prints how long the acquisition took.
    pub(super) fn took(&self) -> Result<(), Failure> {
        let Some(start) = self.0 else { return Ok(()) };
        Ok(output::print(format!("lockctl: getting lock took {:.6} seconds\n", start.elapsed().as_secs_f64()))?)
    }

    /// Prints how long the acquisition took, and the program that is about to run.
    pub(super) fn acquired(&self, target: &Target, command: &[OsString]) -> Result<(), Failure> {
        if self.0.is_none() {
            return Ok(());
        }
        self.took()?;
        if let Target::Name(name) = target
            && Path::new(name).exists()
        {
            output::message(format_args!("{name} is the name of a lock in the store; for the file of that name, write ./{name}"));
        }
        Ok(output::print(format!("lockctl: executing {}\n", output::escaped(&command[0].to_string_lossy())))?)
    }
}
