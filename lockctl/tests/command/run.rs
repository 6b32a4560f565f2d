//! `run`: exit codes, waiting, and the release of the lock.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::scratch::{CommandOutput, Held, Scratch, await_wait, output_of};

#[rstest]
#[case("exit 0", 0)]
#[case("exit 7", 7)]
#[case("exit 255", 255)]
#[case("kill -TERM $$", 128 + 15)]
#[case("kill -KILL $$", 128 + 9)]
fn run_exits_as_the_command_does(#[case] script: &str, #[case] code: i32) {
    let scratch = Scratch::with_store();
    assert_eq!(scratch.run(&["run", "3", "--", "sh", "-c", script]).code, Some(code));
    assert_eq!(scratch.ok(&["run", "-n", "3", "--", "echo", "free again"]), "free again\n");
}

#[test]
fn a_command_that_cannot_be_executed_exits_69() {
    let scratch = Scratch::with_store();
    let line = scratch.fails(69, &["run", "3", "--", "/nonexistent/command"]);
    assert!(line.contains("/nonexistent/command cannot be executed"), "{line}");
}

/// The C library passes such a file to the shell, with a copy of the list of the arguments on the stack.
#[test]
#[cfg_attr(not(target_env = "gnu"), ignore = "only glibc passes such a file to the shell")]
fn a_script_without_an_interpreter_is_run_by_the_shell_with_all_arguments() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    // A file that this process has open for writing cannot be executed.
    let write = Command::new("sh").args(["-c", "echo 'echo $#' >$0; chmod +x $0"]).arg(&script).status().unwrap();
    assert!(write.success());
    let (scratch, script) = (Scratch::with_store(), script.to_str().unwrap());
    for lock in ["3", "nightly", "./file"] {
        let mut line = vec!["run", lock, script];
        line.extend(vec!["word"; 50_000]);
        let output = output_of(scratch.lockctl(&line).current_dir(scratch.path()));
        assert_eq!((output.code, output.out.as_str(), output.err.as_str()), (Some(0), "50000\n", ""), "{lock}");
    }
}

#[test]
fn the_environment_is_passed_on_as_it_is() {
    let scratch = Scratch::with_store();
    let odd = OsStr::from_bytes(b"\xff=\n$x");
    for (lock, id) in [("3", "3"), ("./file", "none")] {
        let script = "printf '%s|' \"$ODD\" \"${EMPTY-unset}\" \"$LOCKCTL_IDS\" \"${LOCKCTL_ID-none}\"";
        let mut command = scratch.lockctl(&["run", lock, "sh", "-c", script]);
        command
            .current_dir(scratch.path())
            .env("ODD", odd)
            .env("EMPTY", "")
            .env("LOCKCTL_IDS", "kept")
            .env("LOCKCTL_ID", "outer");
        let expected = [odd.as_bytes(), format!("||kept|{id}|").as_bytes()].concat();
        assert_eq!(command.output().unwrap().stdout.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{lock}");
    }
}

#[test]
fn a_busy_lock_exits_1_and_names_the_owner() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    for (how, word) in [(&["-n"][..], "is busy"), (&["-w", "0"], "is busy"), (&["-w", "0.05"], "timed out")] {
        let line = scratch.fails(1, &[&["run"], how, &["3", "--", "true"]].concat());
        assert!(line.contains(&format!("held by pid {}", held.pid())) && line.contains("read line"), "{line}");
        assert!(line.contains("lock 3") && line.contains(word), "{line}");
        scratch.fails(42, &[&["run", "-E", "42"], how, &["3", "--", "true"]].concat());
    }
    scratch.ok(&["run", "-n", "4", "--", "true"]);
    assert_eq!(held.release().code, Some(0));
    scratch.ok(&["run", "-n", "3", "--", "true"]);
}

#[test]
fn a_wait_never_ends_early() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let start = Instant::now();
    scratch.fails(1, &["run", "-w", "0.3", "3", "--", "true"]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    held.release();
}

#[test]
fn a_waiter_acquires_a_released_lock() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "echo", "in"]).stdout(Stdio::piped()).spawn().unwrap();
    await_wait(&mut waiter);
    held.release();
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"));
}

/// The waiter acquires the lock of the removed store, which later commands do not use.
#[test]
fn a_waiter_of_a_removed_store_uses_the_new_store() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "echo", "in"]).stdout(Stdio::piped()).spawn().unwrap();
    await_wait(&mut waiter);
    fs::remove_file(scratch.file()).unwrap();
    let other = scratch.hold("3");
    held.release();
    await_wait(&mut waiter);
    assert_eq!(scratch.run(&["run", "-n", "3", "--", "true"]).code, Some(1), "the other command has the lock");
    other.release();
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"));
}

#[test]
fn killing_lockctl_kills_the_command_and_is_reported() {
    let scratch = Scratch::with_store();
    let mut held = scratch.hold("3");
    let pid = held.pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(held.line(), "", "the command wrote after lockctl was killed");
    let output = scratch.run(&["run", "3", "--", "echo", "in"]);
    assert_eq!((output.code, output.out.as_str()), (Some(0), "in\n"));
    let reported = output.err.lines().collect::<Vec<_>>();
    assert_eq!(reported.len(), 1, "{output:?}");
    assert!(reported[0].starts_with(&format!("lockctl: pid {pid} (")), "{reported:?}");
    assert!(reported[0].ends_with(") died holding lock 3") && reported[0].contains("read line"), "{reported:?}");
    assert_eq!(scratch.ok(&["run", "3", "--", "echo", "no report"]), "no report\n");
    held.end();
}

#[test]
fn the_variables_report_a_death_until_a_command_exits_with_0() {
    let scratch = Scratch::with_store();
    let print = ["run", "3", "--", "sh", "-c", "echo \"$LOCKCTL_ID $LOCKCTL_TOKEN ${LOCKCTL_RECOVERED-none}\"; exit $0"];
    let run = |code: &str| scratch.run(&[&print[..], &[code]].concat());
    let first = run("0").out;
    let token: u64 = first.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(first, format!("3 {token} none\n"));
    let held = scratch.hold("3");
    kill(Pid::from_raw(held.pid()), Signal::SIGKILL).unwrap();
    drop(held);
    for (code, token) in [("1", token + 2), ("2", token + 3), ("0", token + 4)] {
        let output = run(code);
        let death = output.err.trim_end().strip_prefix("lockctl: ").expect("the death is reported on stderr");
        assert!(death.ends_with(" died holding lock 3"), "{death}");
        assert_eq!(output.out, format!("3 {token} {death}\n"));
    }
    let output = run("0");
    assert_eq!((output.out, output.err), (format!("3 {} none\n", token + 5), String::new()));
}

#[test]
fn a_command_does_not_see_the_variables_of_an_outer_run() {
    let scratch = Scratch::with_store();
    let mut run = scratch.lockctl(&["run", "3", "--", "sh", "-c", "echo ${LOCKCTL_RECOVERED-none}"]);
    let ran = run.env("LOCKCTL_RECOVERED", "another run's").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "none\n");
}

#[test]
fn a_killed_command_is_not_reported_as_a_dead_owner() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    kill(Pid::from_raw(held.command), Signal::SIGKILL).unwrap();
    assert_eq!(held.end().code, Some(128 + 9));
    assert_eq!(scratch.run(&["run", "3", "--", "true"]).err, "");
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

#[test]
fn an_id_is_allocated_when_it_is_first_used() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("0");
    let print = ["--", "sh", "-c", "echo $LOCKCTL_ID"];
    assert_eq!(scratch.ok(&[&["run", "-n", "--new"], &print[..]].concat()), "1\n");
    held.release();
    let lock = scratch.entry(0).expect("it stays allocated");
    assert_eq!(
        (&lock["allocated"], &lock["label"], &lock["is_named"]),
        (&true.into(), &"used by lockctl run".into(), &false.into())
    );
    assert_eq!(scratch.entry(1), None);
    scratch.ok(&["allocate", "5", "--label", "mine"]);
    scratch.ok(&["run", "5", "true"]);
    assert_eq!(scratch.entry(5).unwrap()["label"], "mine");
}

#[test]
fn processes_that_race_for_a_free_id_all_use_it() {
    let scratch = Scratch::with_store();
    let start = || scratch.lockctl(&["run", "7", "echo", "in"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let racers: Vec<_> = (0..8).map(|_| start()).collect();
    for racer in racers {
        let output = CommandOutput::from(racer.wait_with_output().unwrap());
        assert_eq!((output.code, output.out.as_str(), output.err.as_str()), (Some(0), "in\n", ""));
    }
}

/// A program may hold the lock of an id that is not allocated.
#[test]
fn a_new_lock_is_never_one_that_is_held() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=2", scratch.url())]);
    let held = scratch.hold("0");
    scratch.ok(&["free", "0"]);
    let new = ["run", "--new", "--", "sh", "-c", "echo $LOCKCTL_ID"];
    assert_eq!(scratch.ok(&new), "1\n");
    assert_eq!(scratch.entry(0).unwrap()["allocated"], false);
    scratch.ok(&["allocate", "1"]);
    let line = scratch.fails(75, &new);
    assert!(line.contains("exhausted") || line.contains("allocated"), "{line}");
    assert_eq!(scratch.entry(0).unwrap()["allocated"], false);
    held.release();
    assert_eq!(scratch.ok(&new), "0\n");
}

#[test]
fn a_name_is_one_lock_in_all_runs() {
    let scratch = Scratch::with_store();
    let list = [env!("CARGO_BIN_EXE_lockctl"), "list", "--json"];
    let listing = scratch.json(&[&["run", "--name", "build cache", "--"], &list[..]].concat());
    let lock = &listing["locks"][0];
    assert_eq!((&lock["label"], &lock["is_named"], &lock["held"]), (&"build cache".into(), &true.into(), &true.into()));
    let busy = [env!("CARGO_BIN_EXE_lockctl"), "run", "-n", "--name", "build cache", "--", "true"];
    scratch.fails(1, &[&["run", "--name", "build cache", "--"], &busy[..]].concat());
    scratch.ok(&[&["run", "--name", "another", "--"], &busy[..]].concat());
    assert_eq!(scratch.json(&["list", "--json"])["locks"].as_array().unwrap().len(), 2);
    scratch.fails(64, &["run", "--name", "", "--", "true"]);
}

/// During the wait, the id of the name is freed, and the name is allocated again with another id.
#[test]
fn a_waiter_for_a_name_gets_the_lock_that_has_the_name_afterwards() {
    let scratch = Scratch::with_store();
    let hold = || Held::start(scratch.lockctl(&["run", "--name", "x", "--", "sh", "-c", "echo $$; echo $LOCKCTL_ID; read line"]));
    let mut first = hold();
    let old = first.line().trim().to_owned();
    let mut waiter = scratch.lockctl(&["run", "--name", "x", "--", "sh", "-c", "echo $LOCKCTL_ID"]);
    let mut waiter = waiter.stdout(Stdio::piped()).spawn().unwrap();
    await_wait(&mut waiter);
    scratch.ok(&["free", &old]);
    scratch.ok(&["allocate", &old]);
    let mut second = hold();
    let new = second.line().trim().to_owned();
    assert_ne!(old, new);
    first.release();
    await_wait(&mut waiter);
    second.release();
    let output = CommandOutput::from(waiter.wait_with_output().unwrap());
    assert_eq!((output.code, output.out.trim()), (Some(0), new.as_str()));
}

#[rstest]
#[case(&["run", "--", "true"])]
#[case(&["run", "--new", "3", "--", "true"])]
#[case(&["run", "--label", "x", "3", "--", "true"])]
#[case(&["run", "--name", "x", "3", "--", "true"])]
#[case(&["run", "--new", "--name", "x", "--", "true"])]
#[case(&["run", "-w", "soon", "3", "--", "true"])]
#[case(&["run", "-E", "256", "3", "--", "true"])]
#[case(&["run", "3"])]
#[case(&["run", "3", "--"])]
#[case(&["run", "--new"])]
#[case(&["run", "-1", "--", "true"])]
#[case(&["run", "--", "nightly", "true"])]
#[case(&["run", "-F", "3", "true"])]
#[case(&["run", "-u", "3", "true"])]
#[case(&["run", "3", "-c", "echo", "two"])]
#[case(&["run", "-c", "echo", "3", "true"])]
fn an_invalid_command_line_exits_64(#[case] args: &[&str]) {
    let output = Scratch::with_store().run(args);
    assert_eq!((output.code, output.out.as_str()), (Some(64), ""), "{output:?}");
    assert!(!output.err.is_empty());
}

#[test]
fn run_creates_an_absent_store_and_reports_that() {
    let scratch = Scratch::new();
    scratch.fails(66, &["run", "--no-create", "3", "--", "true"]);
    let output = scratch.run(&["run", "3", "--", "true"]);
    assert_eq!(output.code, Some(0));
    assert_eq!(output.err, format!("lockctl: the store {} was absent; it is created\n", scratch.url()));
    scratch.ok(&["run", "3", "--", "true"]);
}
