//! How `run` ends: as its command has ended.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rstest::rstest;

use crate::scratch::{Scratch, output_of};
use crate::sys::{with_default_actions, with_ignored_signals};

#[rstest]
fn run_dies_of_the_signal_that_killed_its_command(#[values(1, 2, 3, 6, 9, 11, 13, 15, 40, 64)] signal: i32) {
    let scratch = Scratch::with_store();
    let mut run = scratch.lockctl(&["run", "3", "--", "sh", "-c", &format!("kill -{signal} $$")]);
    with_default_actions(&mut run);
    assert_eq!(run.status().unwrap().signal(), Some(signal));
    assert_eq!(scratch.ok(&["run", "-n", "3", "--", "echo", "free again"]), "free again\n");
}

/// The command itself could write a core file, and is limited here. lockctl, which dies of the same signal, writes none.
#[test]
fn run_writes_no_core_file() {
    let scratch = Scratch::with_store();
    let script = "ulimit -c unlimited || exit 77; exec \"$0\" run 3 -- sh -c 'ulimit -c 0; kill -ABRT $$'";
    let mut run = Command::new("sh");
    run.args(["-c", script, env!("CARGO_BIN_EXE_lockctl")]).env("LOCKCTL_STORE", scratch.url()).current_dir(scratch.path());
    let status = run.status().unwrap();
    if status.code() == Some(77) {
        eprintln!("skipped: core files are limited");
        return;
    }
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn signals_that_were_ignored_reach_the_command_as_they_were() {
    let scratch = Scratch::with_store();
    let line = |text: String| text.lines().find(|line| line.starts_with("SigIgn")).map(str::to_owned).unwrap();
    let status = ["cat", "/proc/self/status"];
    for set in [with_ignored_signals, with_default_actions] {
        let mut outside = Command::new(status[0]);
        outside.arg(status[1]);
        let mut inside = scratch.lockctl(&[&["run", "3", "--"][..], &status].concat());
        let [outside, inside] = [&mut outside, &mut inside].map(|command| {
            set(command);
            line(String::from_utf8(command.output().unwrap().stdout).unwrap())
        });
        assert_eq!(inside, outside);
    }
}

/// A datagram socket keeps each write separate.
#[rstest]
#[case(&["run", "-n", "3", "--", "true"])]
#[case(&["run", "4000000", "--", "true"])]
#[case(&["run", "--none"])]
fn a_message_is_written_by_one_system_call(#[case] args: &[&str]) {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let (ours, other) = UnixDatagram::pair().unwrap();
    let status = scratch.lockctl(args).stderr(OwnedFd::from(other)).status().unwrap();
    assert_ne!(status.code(), Some(0));
    ours.set_nonblocking(true).unwrap();
    let mut message = [0; 4096];
    let length = ours.recv(&mut message).unwrap();
    assert!(message[..length].ends_with(b"\n"), "{}", String::from_utf8_lossy(&message[..length]));
    assert!(ours.recv(&mut message).is_err(), "a second write");
    held.release();
}

/// The command removes the semaphores of the store, so the lock cannot be released.
#[rstest]
#[case("exit 0", 0)]
#[case("exit 7", 7)]
#[case("kill -TERM $$", 128 + 15)]
fn an_error_after_the_command_is_a_message_and_not_the_exit_code(#[case] end: &str, #[case] code: i32) {
    if Command::new("ipcrm").arg("--version").output().is_err() {
        eprintln!("skipped: lacks ipcrm");
        return;
    }
    let scratch = Scratch::new();
    let lockctl = |args: &[&str]| {
        let mut command = scratch.lockctl(args);
        output_of(command.env("LOCKCTL_STORE", format!("sem:{}", scratch.file().display())))
    };
    assert_eq!(lockctl(&["create"]).code, Some(0));
    let remove = "ipcrm -s $($0 info | sed -n 's/.*(ids \\([0-9]*\\);.*/\\1/p')";
    let output = lockctl(&["run", "3", "--", "sh", "-c", &format!("{remove} && {end}"), env!("CARGO_BIN_EXE_lockctl")]);
    assert_eq!((output.code, output.err.lines().count()), (Some(code), 1), "{output:?}");
    assert!(output.err.contains("lock 3 could not be released") && output.err.contains("ipcrm"), "{output:?}");
    assert_eq!(lockctl(&["destroy", "--yes"]).code, Some(0));
}
