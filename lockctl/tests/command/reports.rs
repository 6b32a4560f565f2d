//! `run` after the death of an owner: what it says, what the command sees, and when the report ends.

use std::process::Stdio;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scratch::{Scratch, lockctl, said};

/// Kills an owner of lock 3; the beginning of the reports of its death.
fn kill_an_owner(scratch: &Scratch) -> String {
    let held = scratch.hold("3");
    let pid = held.pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    held.end();
    format!("pid {pid} (")
}

#[test]
fn a_death_is_reported_until_a_command_ends_with_0() {
    let scratch = Scratch::with_store();
    let owner = kill_an_owner(&scratch);
    for (command, code) in [("false", 1), ("false", 1), ("true", 0)] {
        let said = scratch.say(&["run", "3", "--", command]);
        assert_eq!((said.code, said.err.lines().count()), (Some(code), 1), "{said:?}");
        assert!(said.err.starts_with(&format!("lockctl: {owner}")), "{said:?}");
        assert!(said.err.ends_with(") died holding lock 3\n"), "{said:?}");
    }
    assert_eq!(scratch.ok(&["run", "3", "--", "echo", "no report"]), "no report\n");
}

#[test]
fn a_command_that_is_killed_or_cannot_be_executed_leaves_the_report() {
    let scratch = Scratch::with_store();
    let owner = kill_an_owner(&scratch);
    for (command, code) in [("kill -KILL $$", 128 + 9), ("exec /nonexistent/command", 127), ("exit 3", 3)] {
        let said = scratch.say(&["run", "3", "--", "sh", "-c", command]);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.err.contains(&owner), "{said:?}");
    }
    let said = scratch.say(&["run", "3", "--", "/nonexistent/command"]);
    assert_eq!((said.code, said.err.lines().count()), (Some(69), 2), "{said:?}");
    assert!(scratch.say(&["run", "3", "--", "true"]).err.contains(&owner), "no command ended with 0");
}

#[test]
fn a_panic_is_reported_as_one() {
    let scratch = Scratch::with_store();
    let lock = lock_any::open(&scratch.url()).unwrap().retrieve(3).unwrap();
    let owner = move || {
        let _guard = lock.lock().unwrap();
        std::panic::resume_unwind(Box::new("an example"));
    };
    thread::spawn(owner).join().unwrap_err();
    let said = scratch.say(&["run", "3", "--", "true"]);
    assert!(said.err.starts_with(&format!("lockctl: pid {}", std::process::id())), "{said:?}");
    assert!(said.err.ends_with(" panicked holding lock 3\n"), "{said:?}");
    assert_eq!(scratch.ok(&["run", "3", "--", "true"]), "");
}

const SHOW: &str = "echo ${LOCKCTL_ID-none} ${LOCKCTL_TOKEN-none} ${LOCKCTL_RECOVERED-none}";

#[test]
fn the_command_finds_the_lock_in_its_environment() {
    let scratch = Scratch::with_store();
    let show = ["run", "3", "--", "sh", "-c", SHOW];
    let first = scratch.ok(&show);
    let second = scratch.ok(&show);
    let token = |line: &str| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(first, format!("3 {} none\n", token(&first)));
    assert_eq!(second, format!("3 {} none\n", token(&second)));
    assert!(token(&second) > token(&first) && token(&first) > 0, "{first}{second}");
    let owner = kill_an_owner(&scratch);
    let said = scratch.say(&show);
    let (before, report) = said.out.split_once(owner.as_str()).unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(before, format!("3 {} ", token(&said.out)));
    assert!(token(&said.out) > token(&second) && report.ends_with(") died holding lock 3\n"), "{said:?}");
    assert!(scratch.ok(&show).ends_with(" none\n"));
}

#[test]
fn a_command_in_a_command_sees_its_own_lock_alone() {
    let scratch = Scratch::with_store();
    kill_an_owner(&scratch);
    let inner = [env!("CARGO_BIN_EXE_lockctl"), "run", "4", "--", "sh", "-c", SHOW];
    let said = scratch.say(&[&["run", "3", "--"], &inner[..]].concat());
    assert_eq!((said.code, said.err.lines().count()), (Some(0), 1), "{said:?}");
    assert!(said.out.starts_with("4 ") && said.out.ends_with(" none\n"), "{said:?}");
}

#[test]
fn the_help_and_the_manual_name_the_variables() {
    for args in [&["help", "run"][..], &["man"]] {
        let said = said(lockctl(args).stderr(Stdio::null()));
        for variable in ["LOCKCTL_ID", "LOCKCTL_TOKEN", "LOCKCTL_RECOVERED"] {
            // The manual escapes hyphens and dots, of which a variable has none.
            assert!(said.out.contains(variable), "{variable} {said:?}");
        }
    }
}
