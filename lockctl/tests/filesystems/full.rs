//! What lockctl does on a full file system.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Failed;

use crate::Outcome;
use crate::disk::{Disk, succeeds};

/// The statuses for which a full file system is a reason.
const NO_ROOM: i32 = 73;

pub(crate) fn lockctl(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockctl"));
    command.args(["--store", url]).args(args).stdin(Stdio::null());
    command
}

/// Runs it; the output. A failure is one line and no signal.
pub(crate) fn ended(url: &str, args: &[&str]) -> Result<Output, Failed> {
    let output = lockctl(url, args).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_orderly = output.status.code().is_some_and(|code| code < 128) && said.lines().count() <= 1;
    if is_orderly { Ok(output) } else { Err(format!("{args:?} of {url}: {}: {said:?}", output.status).into()) }
}

/// Runs what must end with one of these codes.
pub(crate) fn ends_with(codes: &[i32], url: &str, args: &[&str]) -> Result<String, Failed> {
    let output = ended(url, args)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code().is_some_and(|code| codes.contains(&code)) {
        return Ok(said);
    }
    Err(format!("{args:?} of {url}, wanted {codes:?}: {}: {said:?}", output.status).into())
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

/// Uses a store, fills its file system, and uses the store again: each command ends by itself, and what needs no room works.
pub(crate) fn every_command_ends_by_itself(disk: &Disk, scheme: &str) -> Outcome {
    let store = url(scheme, &disk.path().join("store"));
    ends_with(&[0], &store, &["create"])?;
    for id in ["3", "4", "1500"] {
        ends_with(&[0], &store, &["run", id, "--", "true"])?;
    }
    ends_with(&[0], &store, &["allocate", "4"])?;
    let holder = Held::start(&store, "3")?;
    disk.sync()?;
    disk.fill()?;
    for _ in 0..3 {
        ends_with(&[0], &store, &["list"])?;
        ends_with(&[0], &store, &["info"])?;
        ends_with(&[1], &store, &["run", "-n", "3", "--", "true"])?;
        // These locks have been used, so that they have their room.
        ends_with(&[0], &store, &["run", "4", "--", "true"])?;
        ends_with(&[0], &store, &["run", "1500", "--", "true"])?;
        ends_with(&[0], &store, &["free", "4"])?;
        ends_with(&[0], &store, &["allocate", "4"])?;
        disk.sync()?;
    }
    // What needs room is an error, if there is none.
    let said = ends_with(&[0, NO_ROOM], &store, &["run", "900000", "--", "true"])?;
    names_the_file_system(&said, disk)?;
    holder.release()?;
    disk.sync()?;
    ends_with(&[0], &store, &["run", "3", "--", "true"])?;
    let other = url(scheme, &disk.path().join("other"));
    let said = ends_with(&[0, NO_ROOM], &other, &["create"])?;
    names_the_file_system(&said, disk)?;
    ends_with(&[0], &store, &["destroy", "--yes"])?;
    ended(&other, &["destroy", "--yes"])?;
    Ok(())
}

fn names_the_file_system(said: &str, disk: &Disk) -> Outcome {
    let path = disk.path().display().to_string();
    if said.is_empty() || said.contains("left on the file system of ") && said.contains(&path) {
        return Ok(());
    }
    Err(format!("the error does not say where room is missing: {said:?}").into())
}

pub(crate) fn an_inode_is_missing(disk: &Disk) -> Outcome {
    disk.fill_with_files()?;
    for scheme in crate::SCHEMES {
        let store = url(scheme, &disk.path().join("store"));
        let said = ends_with(&[NO_ROOM], &store, &["create"])?;
        if !said.contains("no inode is left on the file system of ") {
            return Err(format!("{scheme}: {said:?}").into());
        }
    }
    Ok(())
}

/// A copy on xfs shares the blocks of the original, so that each of them needs another block when it is next written.
pub(crate) fn after_a_copy(disk: &Disk) -> Outcome {
    for scheme in ["shm", "sem", "posix-sem"] {
        for is_opened_before in [true, false] {
            let [store, copy] = ["store", "copy"].map(|name| disk.path().join(name));
            let url = url(scheme, &store);
            ends_with(&[0], &url, &["run", "3", "--", "true"])?;
            disk.sync()?;
            succeeds(Command::new("cp").arg("--reflink=always").args([&store, &copy]))?;
            if is_opened_before {
                ends_with(&[0], &url, &["list"])?;
            }
            disk.fill()?;
            // A process that opens the store while there is room gives it its own blocks.
            let codes: &[i32] = if is_opened_before { &[0] } else { &[NO_ROOM] };
            for _ in 0..3 {
                ends_with(codes, &url, &["run", "3", "--", "true"])?;
                names_the_file_system(&ends_with(codes, &url, &["list"])?, disk)?;
                disk.sync()?;
            }
            disk.empty()?;
            ends_with(&[0], &url, &["run", "3", "--", "true"])?;
            ends_with(&[0], &url, &["destroy", "--yes"])?;
            std::fs::remove_file(&copy)?;
        }
    }
    Ok(())
}
