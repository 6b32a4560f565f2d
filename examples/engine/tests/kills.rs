//! A command that is killed at any of its steps leaves nothing that the next command does not repair.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The number of SIGKILL.
const SIGKILL: i32 = 9;

fn engine(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.env_remove("ENGINE_STOP_AT").arg(dir).args(args);
    command
}

/// Runs a command that must succeed, and returns its stdout.
fn run(dir: &Path, args: &[&str]) -> String {
    let output = engine(dir, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command and kills it when it reaches the step.
fn kill_at(step: &str, dir: &Path, args: &[&str]) {
    let mut child = engine(dir, args).env("ENGINE_STOP_AT", step).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!((line.trim_end(), status.signal()), (step, Some(SIGKILL)), "{args:?} did not reach the step");
}

/// Asserts that these containers exist, each with a directory and a lock, and that no other id is allocated.
fn expect(dir: &Path, names: &[&str]) {
    let list = run(dir, &["list"]);
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), names, "{list}");
    assert!(rows.iter().all(|row| row[2] == "ready"), "{list}");
    let mut directories: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    directories.sort();
    assert_eq!(directories, names);
    let store = lock_any::open(lock_any::StoreUrl::builder("shm").path(dir.join("locks"))).unwrap();
    let mut ids: Vec<String> = rows.iter().map(|row| row[1].to_owned()).collect();
    ids.sort();
    assert_eq!(store.allocated().unwrap().iter().map(|one| one.id.to_string()).collect::<Vec<_>>(), ids);
    assert!(store.held().unwrap().is_empty());
}

#[test]
fn a_create_that_is_killed_leaves_all_or_nothing() {
    for (step, names) in [
        ("allocated", &["db"][..]),
        ("inserted", &["db"]),
        ("committed", &["db"]),
        ("directory-made", &["db"]),
        ("ready", &["db", "web"]),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        run(scratch.path(), &["create", "db"]);
        kill_at(step, scratch.path(), &["create", "web"]);
        expect(scratch.path(), names);
        run(scratch.path(), &["create", "cache"]);
        expect(scratch.path(), &[&["cache"], names].concat());
    }
}

#[test]
fn a_remove_that_is_killed_is_completed_by_the_next_command() {
    for step in ["removing", "directory-removed", "row-removed"] {
        let scratch = tempfile::tempdir().unwrap();
        run(scratch.path(), &["create", "db"]);
        run(scratch.path(), &["create", "web"]);
        kill_at(step, scratch.path(), &["remove", "db"]);
        expect(scratch.path(), &["web"]);
        run(scratch.path(), &["remove", "web"]);
        expect(scratch.path(), &[]);
    }
}

#[test]
fn a_command_that_runs_is_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child =
        engine(scratch.path(), &["create", "web"]).env("ENGINE_STOP_AT", "committed").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(run(scratch.path(), &["list"]).ends_with("creating\n"));
    child.kill().unwrap();
    child.wait().unwrap();
    expect(scratch.path(), &[]);
}
