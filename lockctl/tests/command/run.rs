//! `run`: exit codes, waiting, and what becomes of the lock.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::scratch::{Said, Scratch, await_wait};

#[rstest]
#[case("exit 0", 0)]
#[case("exit 7", 7)]
#[case("exit 255", 255)]
#[case("kill -TERM $$", 128 + 15)]
#[case("kill -KILL $$", 128 + 9)]
fn the_command_s_end_is_passed_on(#[case] script: &str, #[case] code: i32) {
    let scratch = Scratch::with_store();
    assert_eq!(scratch.say(&["run", "3", "--", "sh", "-c", script]).code, Some(code));
    assert_eq!(scratch.ok(&["run", "-n", "3", "--", "echo", "free again"]), "free again\n");
}

#[test]
fn a_command_that_cannot_be_executed_exits_69() {
    let scratch = Scratch::with_store();
    let line = scratch.fails(69, &["run", "3", "--", "/nonexistent/command"]);
    assert!(line.contains("/nonexistent/command cannot be executed"), "{line}");
}

#[test]
fn a_busy_lock_exits_1_and_names_the_holder_s_pid_and_command() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    for (how, word) in [(&["-n"][..], "is busy"), (&["-w", "0"], "is busy"), (&["-w", "0.05"], "timed out")] {
        let line = scratch.fails(1, &[&["run"], how, &["3", "--", "true"]].concat());
        assert!(line.contains(&format!("held by pid {}", held.pid())) && line.contains("read line"), "{line}");
        assert!(line.contains("lock 3") && line.contains(word), "{line}");
        scratch.fails(42, &[&["run", "-E", "42"], how, &["3", "--", "true"]].concat());
    }
    scratch.ok(&["run", "-n", "4", "--", "true"]);
    assert_eq!(held.let_go().code, Some(0));
    scratch.ok(&["run", "-n", "3", "--", "true"]);
}

#[test]
fn a_wait_is_never_shorter_than_asked_for() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let start = Instant::now();
    scratch.fails(1, &["run", "-w", "0.3", "3", "--", "true"]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    held.let_go();
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_released() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "echo", "in"]).stdout(Stdio::piped()).spawn().unwrap();
    await_wait(&mut waiter);
    held.let_go();
    let said = Said::from(waiter.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (Some(0), "in\n"));
}

/// The waiter gets the lock of the store that was removed, which commands that begin now do not use.
#[test]
fn a_waiter_on_a_store_that_is_removed_runs_under_the_lock_of_the_new_one() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "echo", "in"]).stdout(Stdio::piped()).spawn().unwrap();
    await_wait(&mut waiter);
    fs::remove_file(scratch.file()).unwrap();
    let other = scratch.hold("3");
    held.let_go();
    await_wait(&mut waiter);
    assert_eq!(scratch.say(&["run", "-n", "3", "--", "true"]).code, Some(1), "the other command has the lock");
    other.let_go();
    let said = Said::from(waiter.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (Some(0), "in\n"));
}

#[test]
fn when_lockctl_is_killed_its_command_dies_with_it_and_the_next_owner_is_told_who() {
    let scratch = Scratch::with_store();
    let mut held = scratch.hold("3");
    let pid = held.pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(held.line(), "", "nobody is left who could write");
    let said = scratch.say(&["run", "3", "--", "echo", "in"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "in\n"));
    let told = said.err.lines().collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{said:?}");
    assert!(told[0].starts_with(&format!("lockctl: pid {pid} (")), "{told:?}");
    assert!(told[0].ends_with(") died holding lock 3") && told[0].contains("read line"), "{told:?}");
    assert_eq!(scratch.ok(&["run", "3", "--", "echo", "no news"]), "no news\n");
    held.end();
}

#[test]
fn a_death_is_told_until_a_command_ends_with_0() {
    let scratch = Scratch::with_store();
    let print = ["run", "3", "--", "sh", "-c", "echo \"$LOCKCTL_ID $LOCKCTL_TOKEN ${LOCKCTL_RECOVERED-none}\"; exit $0"];
    let run = |code: &str| scratch.say(&[&print[..], &[code]].concat());
    assert_eq!(run("0").out, "3 1 none\n");
    let held = scratch.hold("3");
    kill(Pid::from_raw(held.pid()), Signal::SIGKILL).unwrap();
    drop(held);
    for (code, token) in [("1", 3), ("2", 4), ("0", 5)] {
        let said = run(code);
        let death = said.err.trim_end().strip_prefix("lockctl: ").expect("the death is told on stderr");
        assert!(death.ends_with(" died holding lock 3"), "{death}");
        assert_eq!(said.out, format!("3 {token} {death}\n"));
    }
    let said = run("0");
    assert_eq!((said.out.as_str(), said.err.as_str()), ("3 6 none\n", ""));
}

#[test]
fn a_command_does_not_see_the_variables_of_an_outer_run() {
    let scratch = Scratch::with_store();
    let mut run = scratch.lockctl(&["run", "3", "--", "sh", "-c", "echo ${LOCKCTL_RECOVERED-none}"]);
    let ran = run.env("LOCKCTL_RECOVERED", "another run's").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "none\n");
}

#[test]
fn a_command_that_ends_otherwise_is_no_death_of_an_owner() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    kill(Pid::from_raw(held.command), Signal::SIGKILL).unwrap();
    assert_eq!(held.end().code, Some(128 + 9));
    assert_eq!(scratch.say(&["run", "3", "--", "true"]).err, "");
}

#[test]
fn a_new_lock_is_allocated_with_its_label_and_freed_at_the_end() {
    let scratch = Scratch::with_store();
    let list = [env!("CARGO_BIN_EXE_lockctl"), "list", "--json"];
    let listing = scratch.json(&[&["run", "--new", "--label", "nightly", "--"], &list[..]].concat());
    assert_eq!(listing["locks"][0]["label"], "nightly");
    assert_eq!(listing["locks"][0]["held"], true);
    assert_eq!(scratch.json(&["list", "--json"])["locks"], serde_json::json!([]));
    scratch.fails(69, &["run", "--new", "--", "/nonexistent/command"]);
    assert_eq!(scratch.json(&["list", "--json"])["locks"], serde_json::json!([]));
}

#[rstest]
#[case(&["run", "--", "true"])]
#[case(&["run", "--new", "3", "--", "true"])]
#[case(&["run", "3", "--label", "x", "--", "true"])]
#[case(&["run", "-n", "-w", "1", "3", "--", "true"])]
#[case(&["run", "-w", "soon", "3", "--", "true"])]
#[case(&["run", "-E", "256", "3", "--", "true"])]
#[case(&["run", "3"])]
#[case(&["run", "-1", "--", "true"])]
#[case(&["run", "3", "true"])]
fn what_cannot_be_understood_exits_64(#[case] args: &[&str]) {
    let said = Scratch::with_store().say(args);
    assert_eq!((said.code, said.out.as_str()), (Some(64), ""), "{said:?}");
    assert!(!said.err.is_empty());
}

#[test]
fn a_store_that_is_absent_is_created_and_that_is_said_where_somebody_named_it() {
    let scratch = Scratch::new();
    scratch.fails(66, &["run", "--no-create", "3", "--", "true"]);
    let said = scratch.say(&["run", "3", "--", "true"]);
    assert_eq!(said.code, Some(0));
    assert_eq!(said.err, format!("lockctl: there was no store {}; it is created\n", scratch.url()));
    scratch.ok(&["run", "3", "--", "true"]);
}
