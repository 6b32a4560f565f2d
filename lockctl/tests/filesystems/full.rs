//! lockctl on a full file system.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Failed;

use crate::Outcome;
use crate::disk::{Disk, succeeds};

/// The exit code on a full file system.
const NO_ROOM: i32 = 73;

pub(crate) fn lockctl(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockctl"));
    command.args(["--store", url]).args(args).stdin(Stdio::null());
    command
}

/// Runs lockctl and returns its output. A failure has to be one line on stderr, and no signal.
pub(crate) fn ended(url: &str, args: &[&str]) -> Result<Output, Failed> {
    let output = lockctl(url, args).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_orderly = output.status.code().is_some_and(|code| code < 128) && stderr.lines().count() <= 1;
    if is_orderly { Ok(output) } else { Err(format!("{args:?} of {url}: {}: {stderr:?}", output.status).into()) }
}

/// Runs lockctl, which must exit with one of these codes. Returns its stderr.
pub(crate) fn exits_with(codes: &[i32], url: &str, args: &[&str]) -> Result<String, Failed> {
    let output = ended(url, args)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code().is_some_and(|code| codes.contains(&code)) {
        return Ok(stderr);
    }
    Err(format!("{args:?} of {url}, wanted {codes:?}: {}: {stderr:?}", output.status).into())
}

pub(crate) fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

/// A command that holds a lock until it reads a line.
struct Held(Child);

impl Held {
    fn start(url: &str, id: &str) -> Result<Self, Failed> {
        let mut command = lockctl(url, &["run", id, "--", "sh", "-c", "echo held; read line"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line)?;
        if line == "held\n" { Ok(Self(child)) } else { Err("the holder did not get its lock".into()) }
    }

    fn release(mut self) -> Outcome {
        writeln!(self.0.stdin.take().expect("a pipe"))?;
        let output = self.0.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("the holder: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Uses a store, fills its file system, and uses the store again. No command is killed, and operations that need no space succeed.
pub(crate) fn no_command_is_killed(disk: &Disk, scheme: &str) -> Outcome {
    let store = url(scheme, &disk.path().join("store"));
    exits_with(&[0], &store, &["create"])?;
    for id in ["3", "4", "1500"] {
        exits_with(&[0], &store, &["run", id, "--", "true"])?;
    }
    let holder = Held::start(&store, "3")?;
    disk.sync()?;
    disk.fill()?;
    for _ in 0..3 {
        exits_with(&[0], &store, &["list"])?;
        exits_with(&[0], &store, &["info"])?;
        exits_with(&[1], &store, &["run", "-n", "3", "--", "true"])?;
        // These locks have been used, so their blocks are reserved.
        exits_with(&[0], &store, &["run", "4", "--", "true"])?;
        exits_with(&[0], &store, &["run", "1500", "--", "true"])?;
        exits_with(&[0], &store, &["free", "4"])?;
        exits_with(&[0], &store, &["allocate", "4"])?;
        disk.sync()?;
    }
    // An operation that needs space succeeds or returns an error.
    let stderr = exits_with(&[0, NO_ROOM], &store, &["run", "900000", "--", "true"])?;
    names_the_file_system(&stderr, disk)?;
    holder.release()?;
    disk.sync()?;
    exits_with(&[0], &store, &["run", "3", "--", "true"])?;
    let other = url(scheme, &disk.path().join("other"));
    let stderr = exits_with(&[0, NO_ROOM], &other, &["create"])?;
    names_the_file_system(&stderr, disk)?;
    exits_with(&[0], &store, &["destroy", "--yes"])?;
    ended(&other, &["destroy", "--yes"])?;
    Ok(())
}

fn names_the_file_system(stderr: &str, disk: &Disk) -> Outcome {
    let path = disk.path().display().to_string();
    if stderr.is_empty() || stderr.contains("left on the file system of ") && stderr.contains(&path) {
        return Ok(());
    }
    Err(format!("the error does not name the full file system: {stderr:?}").into())
}

pub(crate) fn an_inode_is_missing(disk: &Disk) -> Outcome {
    disk.fill_with_files()?;
    for scheme in crate::SCHEMES {
        let store = url(scheme, &disk.path().join("store"));
        let stderr = exits_with(&[NO_ROOM], &store, &["create"])?;
        if !stderr.contains("no inode is left on the file system of ") {
            return Err(format!("{scheme}: {stderr:?}").into());
        }
    }
    Ok(())
}

/// A copy on xfs shares the blocks of the original, so the next write to each block needs a new one.
pub(crate) fn after_a_copy(disk: &Disk) -> Outcome {
    for scheme in ["shm", "sem", "posix-sem"] {
        for is_opened_before in [true, false] {
            let [store, copy] = ["store", "copy"].map(|name| disk.path().join(name));
            let url = url(scheme, &store);
            exits_with(&[0], &url, &["run", "3", "--", "true"])?;
            disk.sync()?;
            succeeds(Command::new("cp").arg("--reflink=always").args([&store, &copy]))?;
            if is_opened_before {
                exits_with(&[0], &url, &["list"])?;
            }
            disk.fill()?;
            // Opening the store while there is space gives it its own blocks.
            let codes: &[i32] = if is_opened_before { &[0] } else { &[NO_ROOM] };
            for _ in 0..3 {
                exits_with(codes, &url, &["run", "3", "--", "true"])?;
                names_the_file_system(&exits_with(codes, &url, &["list"])?, disk)?;
                disk.sync()?;
            }
            disk.empty()?;
            exits_with(&[0], &url, &["run", "3", "--", "true"])?;
            exits_with(&[0], &url, &["destroy", "--yes"])?;
            std::fs::remove_file(&copy)?;
        }
    }
    Ok(())
}
