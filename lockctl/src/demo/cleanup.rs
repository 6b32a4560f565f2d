//! The cleanup process of the demo.
//!
//! It creates the scratch directory and sends its path to the demo. The demo sends the URL of each store before it creates the store.
//! When the pipe between them closes, the demo and its workers have ended or were killed. Then the cleanup process destroys the stores
//! and removes the directory. It blocks the signals of a terminal, and runs in its own process group.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lock_any::LockId;
use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;

use crate::cli::DemoArgs;
use crate::exit::{ExitStatus, Failure};
use crate::output;

/// The label of a lock of the demo in a store of the user.
pub(super) const LABEL: &str = "lockctl demo";

/// The demo's handle of the cleanup process.
#[derive(Debug)]
pub(super) struct Cleanup {
    process: Child,
    dir: PathBuf,
}

impl Cleanup {
    /// Starts the process and waits for the scratch directory.
    pub(super) fn start(args: &DemoArgs) -> Result<Self, Failure> {
        let start = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("demo-cleanup");
            if let Some(scratch) = &args.scratch {
                command.arg("--scratch").arg(scratch);
            }
            let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn()?;
            let mut dir = String::new();
            let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
            BufReader::new(stdout).read_line(&mut dir)?;
            match dir.strip_suffix('\n') {
                Some(dir) => Ok(Self { process, dir: dir.into() }),
                None => Err(io::Error::other("the scratch directory is missing")),
            }
        };
        start().map_err(|error| Failure::of_call("the demo cannot start", error, ExitStatus::CANNOT_CREATE))
    }

    /// The scratch directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Registers a store to destroy at the end, if it exists then.
    pub(super) fn register_store(&mut self, url: &str) -> io::Result<()> {
        self.register(format_args!("store {url}"))
    }

    /// Registers a lock to free at the end, if it is allocated by the demo then.
    pub(super) fn register_lock(&mut self, id: LockId, url: &str) -> io::Result<()> {
        self.register(format_args!("{id} {url}"))
    }

    fn register(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        match &mut self.process.stdin {
            Some(stdin) => writeln!(stdin, "{line}"),
            None => Ok(()),
        }
    }

    /// Ends the process, and waits for it.
    pub(super) fn finish(mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Runs the cleanup process.
pub(crate) fn cleanup(args: &DemoArgs) -> Result<(), Failure> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    signals.thread_block().map_err(|error| Failure::of_call("cannot block signals", error, ExitStatus::SYSTEM))?;
    let dir = scratch_dir(args)
        .map_err(|error| Failure::of_call("cannot create a scratch directory", error, ExitStatus::CANNOT_CREATE))?;
    let path = dir
        .path()
        .to_str()
        .ok_or_else(|| Failure::new(ExitStatus::CANNOT_CREATE, "the scratch directory's path is not UTF-8"))?;
    output::print(format!("{path}\n"))?;
    // The pipe closes when the demo ends or is killed.
    let lines: Vec<_> = io::stdin().lock().lines().map_while(Result::ok).collect();
    for (what, url) in lines.iter().filter_map(|line| line.split_once(' ')) {
        // Usually the demo has destroyed the store, and freed the lock.
        let Ok(store) = lock_any::open(url) else { continue };
        match what.parse::<LockId>() {
            Err(_) => drop(store.destroy()),
            Ok(id) => {
                let lock = store.retrieve(id).and_then(|lock| Ok((lock.label()?, lock)));
                if let Ok((Some(label), lock)) = lock
                    && label.as_str() == LABEL
                {
                    let _ = lock.free();
                }
            }
        }
    }
    dir.close().map_err(|error| Failure::of_call("cannot remove the scratch directory", error, ExitStatus::SYSTEM))
}

/// Creates the scratch directory, in memory if possible.
fn scratch_dir(args: &DemoArgs) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("lockctl-demo-");
    if let Some(scratch) = &args.scratch {
        return builder.tempdir_in(std::path::absolute(scratch)?);
    }
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}
