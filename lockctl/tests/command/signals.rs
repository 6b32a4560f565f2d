//! `run` and signals: which of them reach the command.

use std::fs;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::pty::Pty;
use crate::scratch::{Held, Scratch, await_wait};
use crate::sys::{with_alarm, with_default_actions, with_terminal};

/// Reads the state of a process from /proc/PID/stat.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Every signal that a process can catch: without SIGKILL and SIGSTOP, the stop signals, SIGCHLD, and those of the C library.
fn forwarded_signals() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![9, 17, 19, 20, 21, 22, 32, 33, 34].contains(signal))
}

#[test]
fn each_signal_is_forwarded_to_the_command() {
    let scratch = Scratch::with_store();
    let traps: Vec<_> = forwarded_signals().map(|signal| format!("trap 'echo got {signal}' {signal}")).collect();
    let script = format!("{}; echo $$; while :; do sleep 0.01; done", traps.join("; "));
    let mut command = scratch.lockctl(&["run", "3", "--", "sh", "-c", &script]);
    with_default_actions(&mut command);
    let mut held = Held::start(command);
    for signal in forwarded_signals() {
        let status = Command::new("sh").args(["-c", "kill -$0 $1", &signal.to_string(), &held.pid().to_string()]).status();
        assert!(status.unwrap().success());
        assert_eq!(held.line(), format!("got {signal}\n"));
    }
    send(held.command, Signal::SIGKILL);
    assert_eq!(held.end().code, Some(128 + 9));
}

/// A command that prints a line for each signal, and ends at SIGTERM. It handles a signal immediately, so that
/// a second one is a second line.
fn counting(scratch: &Scratch) -> Command {
    let script = "trap 'echo USR1' USR1; trap 'echo USR2' USR2; trap 'echo INT' INT; trap 'echo end; exit 0' TERM; echo $$; while :; do :; done";
    let mut command = scratch.lockctl(&["run", "3", "--", "sh", "-c", script]);
    with_default_actions(&mut command);
    command
}

/// Waits until lockctl has its witness of signals to the group.
fn await_witness(held: &Held) {
    let children = format!("/proc/{0}/task/{0}/children", held.pid());
    let is_witness = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "group-witness\n");
    while !fs::read_to_string(&children).unwrap().split(' ').any(is_witness) {
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_to_the_process_group_reaches_the_command_once() {
    let scratch = Scratch::with_store();
    let mut command = counting(&scratch);
    command.process_group(0);
    let mut held = Held::start(command);
    await_witness(&held);
    // A signal to lockctl alone is forwarded before and after one to the group.
    for is_to_group in [true, false, true, true, false, false, true, true, true, false] {
        send(if is_to_group { -held.pid() } else { held.pid() }, Signal::SIGUSR1);
        assert_eq!(held.line(), "USR1\n");
        // lockctl handles it after a signal with a lower number.
        send(held.pid(), Signal::SIGUSR2);
        assert_eq!(held.line(), "USR2\n", "a signal reached the command twice");
    }
    send(held.pid(), Signal::SIGTERM);
    assert_eq!(held.line(), "end\n");
    assert_eq!(held.end().code, Some(0));
}

/// A program that waits for the end of the output, or for the processes of a file, is not delayed by the witness.
#[test]
fn the_witness_has_no_file_and_neither_name_nor_arguments_of_lockctl() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    await_witness(&held);
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", held.pid())).unwrap();
    let witness: i32 = children.split_whitespace().map(|pid| pid.parse().unwrap()).find(|pid| *pid != held.command).unwrap();
    let read = |file: &str| fs::read_to_string(format!("/proc/{witness}/{file}")).unwrap();
    assert!(!read("cmdline").contains("lockctl") && !read("comm").contains("lockctl"));
    let files = fs::read_dir(format!("/proc/{witness}/fd")).unwrap().map(|file| fs::read_link(file.unwrap().path()).unwrap());
    let files: Vec<_> = files.collect();
    assert!(files.len() == 1 && files[0].to_string_lossy().starts_with("socket:"), "{files:?}");
    // The command is killed with lockctl, and the witness ends.
    send(held.pid(), Signal::SIGKILL);
    held.end();
    while state(witness).is_some_and(|state| state != 'Z') {
        std::thread::yield_now();
    }
    scratch.run(&["run", "3", "--", "true"]);
}

#[test]
fn an_alarm_that_lockctl_inherited_is_forwarded() {
    let scratch = Scratch::with_store();
    let mut run = scratch.lockctl(&["run", "3", "--", "sleep", "60"]);
    with_default_actions(&mut run);
    with_alarm(&mut run);
    assert_eq!(run.status().unwrap().signal(), Some(Signal::SIGALRM as i32));
}

#[test]
fn a_hang_up_of_the_terminal_ends_the_command_of_a_session_leader() {
    let scratch = Scratch::with_store();
    let pty = Pty::open();
    let mut command = scratch.lockctl(&["run", "3", "--", "sh", "-c", "echo $$; exec sleep 60"]);
    with_default_actions(&mut command);
    with_terminal(&mut command, pty.slave);
    let held = Held::start_with_stdin(command);
    drop(pty.master);
    assert_eq!(held.end().code, Some(128 + 1));
    scratch.ok(&["run", "-n", "3", "--", "true"]);
}

#[rstest]
fn a_key_of_the_terminal_reaches_the_command_once(#[values(false, true)] with_witness: bool) {
    let scratch = Scratch::with_store();
    let mut pty = Pty::open();
    let mut command = counting(&scratch);
    with_terminal(&mut command, pty.slave);
    let mut held = Held::start_with_stdin(command);
    if with_witness {
        await_witness(&held);
    }
    pty.master.write_all(b"\x03").unwrap();
    assert_eq!(held.line(), "INT\n");
    send(held.pid(), Signal::SIGUSR2);
    assert_eq!(held.line(), "USR2\n", "the signal reached the command twice");
    // After the key, a signal to lockctl alone is not taken for another one.
    send(held.pid(), Signal::SIGINT);
    assert_eq!(held.line(), "INT\n");
    send(held.pid(), Signal::SIGTERM);
    assert_eq!(held.line(), "end\n");
    assert_eq!(held.end().code, Some(0));
}

/// bash ends a loop if a command died of SIGINT, and not if it exited with 130.
#[test]
fn an_interrupt_ends_a_loop_of_a_shell() {
    if Command::new("bash").args(["-c", ""]).status().is_err() {
        eprintln!("skipped: lacks bash");
        return;
    }
    let scratch = Scratch::with_store();
    let mut pty = Pty::open();
    let script = "for i in 1 2; do \"$0\" run 3 -- sh -c 'echo $$; exec sleep 60'; done; echo end";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_lockctl")]).env("LOCKCTL_STORE", scratch.url());
    with_default_actions(&mut shell);
    with_terminal(&mut shell, pty.slave);
    let mut held = Held::start_with_stdin(shell);
    pty.master.write_all(b"\x03").unwrap();
    assert_eq!(held.line(), "", "the loop goes on");
    assert_eq!(held.end().code, Some(128 + 2));
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
