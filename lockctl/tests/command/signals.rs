//! `run` and signals. The tests do not send SIGINT, SIGQUIT and SIGHUP, because their caller may have ignored these signals.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::scratch::{Held, Scratch, await_wait};

/// Reads the state of a process from /proc/PID/stat.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[rstest]
#[case(Signal::SIGTERM, "TERM")]
#[case(Signal::SIGUSR1, "USR1")]
#[case(Signal::SIGUSR2, "USR2")]
#[case(Signal::SIGWINCH, "WINCH")]
#[case(Signal::SIGALRM, "ALRM")]
fn a_signal_is_forwarded_to_the_command(#[case] signal: Signal, #[case] name: &str) {
    let scratch = Scratch::with_store();
    let script = format!("trap 'exit 9' {name}; echo $$; while :; do :; done");
    let held = Held::start(scratch.lockctl(&["run", "3", "--", "sh", "-c", &script]));
    send(held.pid(), signal);
    assert_eq!(held.end().code, Some(9));
}

#[test]
fn a_signal_that_ends_the_command_leaves_no_report() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    send(held.pid(), Signal::SIGTERM);
    assert_eq!(held.end().code, Some(128 + 15));
    scratch.ok(&["run", "3", "--", "true"]);
}

#[test]
fn both_processes_stop_and_continue_with_the_lock_held() {
    let scratch = Scratch::with_store();
    // A process group whose leader's parent is in another group. The kernel does not stop an orphaned group.
    let mut command = scratch.lockctl(&["run", "3", "--", "sh", "-c", "echo $$; read line"]);
    command.process_group(0);
    let held = Held::start(command);
    let both = [held.pid(), held.command];
    send(held.pid(), Signal::SIGTSTP);
    while both.map(state) != [Some('T'); 2] {
        std::thread::yield_now();
    }
    scratch.fails(1, &["run", "-n", "3", "--", "true"]);
    send(held.pid(), Signal::SIGCONT);
    while both.map(state).contains(&Some('T')) {
        std::thread::yield_now();
    }
    assert_eq!(held.release().code, Some(0));
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let scratch = Scratch::with_store();
    let mut command = Command::new("sh");
    let script = "trap '' USR1; exec \"$0\" run --new -- sh -c 'echo $$; read line'";
    command.args(["-c", script, env!("CARGO_BIN_EXE_lockctl")]).env("LOCKCTL_STORE", scratch.url());
    let held = Held::start(command);
    send(held.pid(), Signal::SIGUSR1);
    send(held.command, Signal::SIGUSR1);
    assert!(scratch.entry(0).is_some_and(|lock| lock["allocated"] == true && lock["held"] == true));
    assert_eq!(held.release().code, Some(0));
}

#[test]
fn a_signal_while_waiting_ends_lockctl() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "true"]).stdout(Stdio::null()).spawn().unwrap();
    await_wait(&mut waiter);
    send(waiter.id() as i32, Signal::SIGTERM);
    assert_eq!(waiter.wait().unwrap().signal(), Some(15));
    held.release();
}

#[test]
fn the_command_inherits_the_signal_mask_of_lockctl() {
    let scratch = Scratch::with_store();
    let line = |text: &str| text.lines().find(|line| line.starts_with("SigBlk")).map(str::to_owned).unwrap();
    let inside = scratch.ok(&["run", "3", "--", "cat", "/proc/self/status"]);
    let outside = Command::new("cat").arg("/proc/self/status").output().unwrap();
    assert_eq!(line(&inside), line(&String::from_utf8(outside.stdout).unwrap()));
}
