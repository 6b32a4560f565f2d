//! The process that cleans up after the demo, in whichever way the demo ends.
//!
//! The janitor makes the scratch directory and tells the demo where it is; the demo tells it each store by URL before making it. When
//! the pipe between them breaks, the demo is over or dead, and its workers die with it: the janitor destroys the stores and
//! removes the directory. It blocks the signals of a terminal, and is in a process group of its own.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;

use crate::cli::DemoArgs;
use crate::exit::{ExitStatus, Failure};
use crate::output;

/// The demo's side.
#[derive(Debug)]
pub(super) struct Janitor {
    process: Child,
    dir: PathBuf,
}

impl Janitor {
    /// Starts the process; when this returns there is a scratch directory.
    pub(super) fn hire(args: &DemoArgs) -> Result<Self, Failure> {
        let hire = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("demo-janitor");
            if let Some(scratch) = &args.scratch {
                command.arg("--scratch").arg(scratch);
            }
            let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn()?;
            let mut dir = String::new();
            let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
            BufReader::new(stdout).read_line(&mut dir)?;
            match dir.strip_suffix('\n') {
                Some(dir) => Ok(Self { process, dir: dir.into() }),
                None => Err(io::Error::other("there is no scratch directory")),
            }
        };
        hire().map_err(|error| Failure::of_call("the demo cannot start", error, ExitStatus::CANNOT_CREATE))
    }

    /// The scratch directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Has a store destroyed at the end, if it is there then.
    pub(super) fn will_destroy(&mut self, url: &str) -> io::Result<()> {
        match &mut self.process.stdin {
            Some(stdin) => writeln!(stdin, "{url}"),
            None => Ok(()),
        }
    }

    /// Waits until everything is clean.
    pub(super) fn dismiss(mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The janitor's side.
pub(crate) fn janitor(args: &DemoArgs) -> Result<(), Failure> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    signals.thread_block().map_err(|error| Failure::of_call("cannot block signals", error, ExitStatus::SYSTEM))?;
    let dir = scratch_dir(args)
        .map_err(|error| Failure::of_call("cannot make a scratch directory", error, ExitStatus::CANNOT_CREATE))?;
    let path = dir
        .path()
        .to_str()
        .ok_or_else(|| Failure::new(ExitStatus::CANNOT_CREATE, "the scratch directory's path is not UTF-8"))?;
    output::print(format!("{path}\n"))?;
    // The pipe ends with the demo, however that ends.
    let urls: Vec<_> = io::stdin().lock().lines().map_while(Result::ok).collect();
    for url in urls {
        // Most often the demo has destroyed it itself.
        if let Ok(store) = lock_any::open(&url) {
            let _ = store.destroy();
        }
    }
    dir.close().map_err(|error| Failure::of_call("cannot remove the scratch directory", error, ExitStatus::SYSTEM))
}

/// In memory where that can be had.
fn scratch_dir(args: &DemoArgs) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("lockctl-demo-");
    if let Some(scratch) = &args.scratch {
        return builder.tempdir_in(std::path::absolute(scratch)?);
    }
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}
