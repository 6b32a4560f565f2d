//! `run` after the death of an owner: its message, the environment of the command, and the end of the report.

use std::process::Stdio;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scratch::{Scratch, lockctl, output_of};

/// Kills an owner of lock 3. Returns the beginning of the reports of its death.
fn kill_an_owner(scratch: &Scratch) -> String {
    let held = scratch.hold("3");
    let pid = held.pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    held.end();
    format!("pid {pid} (")
}

#[test]
fn a_death_is_reported_until_a_command_exits_with_0() {
    let scratch = Scratch::with_store();
    let owner = kill_an_owner(&scratch);
    for (command, code) in [("false", 1), ("false", 1), ("true", 0)] {
        let output = scratch.run(&["run", "3", "--", command]);
        assert_eq!((output.code, output.err.lines().count()), (Some(code), 1), "{output:?}");
        assert!(output.err.starts_with(&format!("lockctl: {owner}")), "{output:?}");
        assert!(output.err.ends_with(") died holding lock 3\n"), "{output:?}");
    }
    assert_eq!(scratch.ok(&["run", "3", "--", "echo", "no report"]), "no report\n");
}

#[test]
fn a_command_that_is_killed_or_cannot_be_executed_leaves_the_report() {
    let scratch = Scratch::with_store();
    let owner = kill_an_owner(&scratch);
    for (command, code) in [("kill -KILL $$", 128 + 9), ("exec /nonexistent/command", 127), ("exit 3", 3)] {
        let output = scratch.run(&["run", "3", "--", "sh", "-c", command]);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.err.contains(&owner), "{output:?}");
    }
    let output = scratch.run(&["run", "3", "--", "/nonexistent/command"]);
    assert_eq!((output.code, output.err.lines().count()), (Some(69), 2), "{output:?}");
    assert!(scratch.run(&["run", "3", "--", "true"]).err.contains(&owner), "no command ended with 0");
}

#[test]
fn a_panic_is_reported_as_one() {
    let scratch = Scratch::with_store();
    let lock = lock_any::open(scratch.url()).unwrap().retrieve(3).unwrap();
    let owner = move || {
        let _guard = lock.lock().unwrap();
        std::panic::resume_unwind(Box::new("an example"));
    };
    thread::spawn(owner).join().unwrap_err();
    let output = scratch.run(&["run", "3", "--", "true"]);
    assert!(output.err.starts_with(&format!("lockctl: pid {}", std::process::id())), "{output:?}");
    assert!(output.err.ends_with(" panicked holding lock 3\n"), "{output:?}");
    assert_eq!(scratch.ok(&["run", "3", "--", "true"]), "");
}

const SHOW: &str = "echo ${LOCKCTL_ID-none} ${LOCKCTL_TOKEN-none} ${LOCKCTL_RECOVERED-none}";

#[test]
fn the_environment_of_the_command_names_the_lock() {
    let scratch = Scratch::with_store();
    let show = ["run", "3", "--", "sh", "-c", SHOW];
    let first = scratch.ok(&show);
    let second = scratch.ok(&show);
    let token = |line: &str| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(first, format!("3 {} none\n", token(&first)));
    assert_eq!(second, format!("3 {} none\n", token(&second)));
    assert!(token(&second) > token(&first) && token(&first) > 0, "{first}{second}");
    let owner = kill_an_owner(&scratch);
    let output = scratch.run(&show);
    let (before, report) = output.out.split_once(owner.as_str()).unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(before, format!("3 {} ", token(&output.out)));
    assert!(token(&output.out) > token(&second) && report.ends_with(") died holding lock 3\n"), "{output:?}");
    assert!(scratch.ok(&show).ends_with(" none\n"));
}

#[test]
fn a_nested_run_has_the_variables_of_its_own_lock() {
    let scratch = Scratch::with_store();
    kill_an_owner(&scratch);
    let inner = [env!("CARGO_BIN_EXE_lockctl"), "run", "4", "--", "sh", "-c", SHOW];
    let output = scratch.run(&[&["run", "3", "--"], &inner[..]].concat());
    assert_eq!((output.code, output.err.lines().count()), (Some(0), 1), "{output:?}");
    assert!(output.out.starts_with("4 ") && output.out.ends_with(" none\n"), "{output:?}");
}

#[test]
fn the_help_and_the_manual_name_the_variables() {
    for args in [&["help", "run"][..], &["man"]] {
        let output = output_of(lockctl(args).stderr(Stdio::null()));
        for variable in ["LOCKCTL_ID", "LOCKCTL_TOKEN", "LOCKCTL_RECOVERED"] {
            // The manual escapes hyphens and dots, which the variables do not contain.
            assert!(output.out.contains(variable), "{variable} {output:?}");
        }
    }
}
