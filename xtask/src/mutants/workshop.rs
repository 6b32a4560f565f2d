//! The copy of the repository in which changes are planted, with a separate target directory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::planted::Mutation;
use crate::Result;
use crate::copy::{self, Copy};
use crate::shell;

/// The copy of the repository and its build, kept between changes.
pub(super) struct Workshop(Copy);

/// The end of a command.
pub(super) enum Ended {
    Well,
    /// It failed, with this output.
    Badly(String),
    /// It reached the time limit, and was killed with its children.
    Late,
}

impl Workshop {
    pub(super) fn open() -> Result<Self> {
        let copy = Copy::of_repository("mutants")?;
        keep_to_itself();
        Ok(Self(copy))
    }

    pub(super) fn root(&self) -> &Path {
        self.0.root()
    }

    /// Makes a command run in the copy, and cargo use its target directory.
    pub(super) fn enter(&self, command: &mut Command) {
        self.0.enter(command);
    }

    pub(super) fn plant(&self, planted: &Mutation) -> Result<()> {
        self.0.write(planted.file, planted.change().apply(&copy::read(planted.file)?)?.as_bytes())
    }

    /// Reverts the change.
    pub(super) fn clear(&self, planted: &Mutation) -> Result<()> {
        self.0.restore(planted.file)
    }

    /// Runs a command. Kills it and its children after the first failed test or at the time limit, and removes its temporary files.
    pub(super) fn run(&self, command: &mut Command, limit: Duration) -> Result<Ended> {
        let scratch = shell::scratch("lock-mutants-")?;
        let output = tempfile::tempfile()?;
        let mut child = command
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()?;
        let until = Instant::now() + limit;
        let (status, failed) = loop {
            match child.try_wait()? {
                None if whole(&output)?.lines().any(is_failure) => break (None, true),
                None if Instant::now() < until => thread::sleep(Duration::from_millis(100)),
                status => break (status, false),
            }
        };
        let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
        child.wait()?;
        Ok(match status {
            None if failed => Ended::Badly(whole(&output)?),
            None => Ended::Late,
            Some(status) if status.success() => Ended::Well,
            Some(_) => Ended::Badly(whole(&output)?),
        })
    }
}

/// Reads the output so far. The offset of the writer does not change.
fn whole(output: &File) -> Result<String> {
    let mut bytes = vec![0; output.metadata()?.len() as usize];
    let read = output.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

/// Returns whether a line reports a failed test.
pub(super) fn is_failure(line: &str) -> bool {
    line.starts_with("test ") && !line.starts_with("test result") && line.ends_with(" FAILED")
}

/// Enters private namespaces if permitted, so that files in `/dev/shm` and semaphores of wrong programs are removed with this process.
fn keep_to_itself() {
    let none: Option<&str> = None;
    let apart = unshare(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")));
    if let Err(errno) = apart {
        eprintln!("cannot use private namespaces ({errno}); check /dev/shm and `ipcs` for leftovers of wrong programs");
    }
}
