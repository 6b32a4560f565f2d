//! Where changes are planted: a copy of the repository, built where nothing else is built.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::planted::Planted;
use crate::Result;
use crate::metadata::Metadata;
use crate::shell;

/// The copy, and what is built of it, which is kept from one change to the next.
pub(super) struct Workshop {
    root: PathBuf,
    target: PathBuf,
}

/// How a command ended.
pub(super) enum Ended {
    Well,
    /// It failed, with this output.
    Badly(String),
    /// It reached the time limit, and was killed with its children.
    Late,
}

/// The text of the file that a change is in, with the change.
pub(super) fn changed(planted: &Planted) -> Result<String> {
    let text = fs::read_to_string(shell::root().join(planted.file))?;
    match text.matches(planted.find).count() {
        1 => Ok(text.replacen(planted.find, planted.replace, 1)),
        times => {
            let (name, file) = (planted.name, planted.file);
            Err(format!("the change {name} has its place {times} times in {file}; look for it in xtask/src/mutants").into())
        }
    }
}

impl Workshop {
    /// Copies what is tracked, as it is now.
    pub(super) fn open() -> Result<Self> {
        let home = Metadata::load()?.target()?.join("mutants");
        let workshop = Self { root: home.join("copy"), target: home.join("target") };
        let tracked = shell::read(Command::new("git").current_dir(shell::root()).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let tracked: Vec<_> = tracked.split('\0').filter(|name| shell::root().join(name).is_file()).collect();
        for name in &tracked {
            write_if_new(&workshop.root.join(name), &fs::read(shell::root().join(name))?)?;
        }
        keep_to_itself();
        Ok(workshop)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    pub(super) fn plant(&self, planted: &Planted) -> Result<()> {
        write_if_new(&self.root.join(planted.file), changed(planted)?.as_bytes())
    }

    /// Takes the change back.
    pub(super) fn clear(&self, planted: &Planted) -> Result<()> {
        write_if_new(&self.root.join(planted.file), &fs::read(shell::root().join(planted.file))?)
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

/// Whether a line reports a failed test.
pub(super) fn is_failure(line: &str) -> bool {
    line.starts_with("test ") && !line.starts_with("test result") && line.ends_with(" FAILED")
}

/// A file that stays as it is is not built again.
fn write_if_new(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().ok_or("a file is in a directory")?)?;
    Ok(fs::write(path, bytes)?)
}

/// Uses private namespaces, if permitted, so that files in `/dev/shm` and semaphores of wrong programs disappear with this process.
fn keep_to_itself() {
    let none: Option<&str> = None;
    let apart = unshare(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), Some("mode=1777")));
    if let Err(errno) = apart {
        eprintln!("cannot use private namespaces ({errno}); check /dev/shm and `ipcs` for leftovers of wrong programs");
    }
}
