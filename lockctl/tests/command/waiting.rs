//! What a wait prints, and the lock that a waiter gets if its store is replaced.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::scratch::{CommandOutput, Held, Scratch, lockctl};

/// A process that is killed when it is dropped. Its descendants have ended then.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // Returns when no process has the pipe any more.
        let _ = self.0.stderr.take().map(|mut stderr| stderr.read_to_end(&mut Vec::new()));
    }
}

/// Reads the first line on stderr.
fn first_line(process: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(process.stderr.as_mut().expect("a pipe")).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_wait_of_a_second_names_the_owner_on_a_stderr_that_is_no_terminal() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "true"]).stderr(Stdio::piped()).spawn().unwrap();
    let line = first_line(&mut waiter);
    assert!(line.starts_with(&format!("lockctl: waiting for lock 3; held by pid {} (", held.pid())), "{line}");
    assert!(!line.contains("ancestor"), "{line}");
    held.release();
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "a second line");
}

#[test]
fn an_owner_that_is_an_ancestor_is_named_immediately_with_advice() {
    let scratch = Scratch::with_store();
    for (id, between) in [("3", &[][..]), ("4", &["sh", "-c", "\"$@\"; exit $?", "sh"])] {
        let inner = [env!("CARGO_BIN_EXE_lockctl"), "run", id, "--", "true"];
        let mut outer = scratch.lockctl(&[&["run", id, "--"], between, &inner].concat());
        let mut outer = Killed(outer.stderr(Stdio::piped()).spawn().unwrap());
        let line = first_line(&mut outer.0);
        assert!(line.starts_with(&format!("lockctl: waiting for lock {id}; held by pid {} (", outer.0.id())), "{line}");
        assert!(line.contains("an ancestor of this process: the wait never ends") && line.contains("use another lock"), "{line}");
    }
}

#[test]
fn a_quiet_run_prints_nothing_about_waits_busy_locks_and_new_stores() {
    let scratch = Scratch::new();
    scratch.ok(&["run", "-q", "3", "--", "true"]);
    let held = scratch.hold("3");
    for how in [&["-n"][..], &["-w", "0"], &["-w", "1.2"]] {
        let output = scratch.run(&[&["run", "--quiet", "-E", "9"], how, &["3", "--", "true"]].concat());
        assert_eq!((output.code, output.err.as_str()), (Some(9), ""), "{output:?}");
    }
    // Other errors and deaths are printed.
    assert_ne!(scratch.run(&["run", "-q", "4000000", "--", "true"]).err, "");
    kill(Pid::from_raw(held.pid()), Signal::SIGKILL).unwrap();
    held.end();
    assert!(scratch.run(&["run", "-q", "3", "--", "true"]).err.contains("died holding lock 3"));
}

/// The holder has the lock of the removed store. The waiter must not run beside the holder of the new one.
#[rstest]
#[case::shm("shm", "rm DIR/store")]
#[case::sem("sem", "mv DIR/store DIR/old")]
#[case::posix_sem("posix-sem", "rm DIR/store")]
#[case::file("file", "rm -r DIR/store")]
#[case::file_of_the_table("file", "rm DIR/store/table")]
#[case::file_moved("file", "mv DIR/store DIR/old")]
#[case::shm_moved("shm", "mv DIR/store DIR/old")]
fn a_waiter_of_a_replaced_store_waits_for_the_holder_of_the_new_one(#[case] scheme: &str, #[case] remove: &str) {
    let scratch = Scratch::new();
    let url = format!("{scheme}:{}", scratch.path().join("store").display());
    let command = |args: &[&str]| {
        let mut command = lockctl(args);
        command.env("LOCKCTL_STORE", &url);
        command
    };
    let hold = || Held::start(command(&["run", "-q", "3", "--", "sh", "-c", "echo $$; read line"]));
    let first = hold();
    let mut waiter = command(&["run", "3", "--", "echo", "in"]);
    let mut waiter = waiter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(first_line(&mut waiter).contains("waiting for lock 3"));
    let remove = remove.replace("DIR", &scratch.path().display().to_string());
    assert!(Command::new("sh").args(["-c", &remove]).status().unwrap().success());
    let second = hold();
    let pid = second.pid();
    first.release();
    let line = first_line(&mut waiter);
    assert!(line.contains(&format!("waiting for lock 3; held by pid {pid} (")), "{line}");
    second.release();
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"), "{output:?}");
    assert_eq!(command(&["destroy", "--yes"]).status().unwrap().code(), Some(0));
    if fs::exists(scratch.path().join("old")).unwrap() {
        let old = format!("{scheme}:{}", scratch.path().join("old").display());
        assert_eq!(lockctl(&["--store", &old, "destroy", "--yes"]).status().unwrap().code(), Some(0));
    }
}
