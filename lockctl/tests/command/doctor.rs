//! `doctor`: each fault is made, and its sentence, its remedy and the exit code are checked.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::scratch::{CommandOutput, Held, Scratch, lockctl, output_of};

/// Runs the doctor, and returns the finding of a check with its severity. The text has the words.
fn finding(scratch: &Scratch, code: i32, check: &str, severity: &str, words: &[&str]) -> Value {
    let output = scratch.run(&["doctor", "--json"]);
    assert_eq!((output.code, output.err.as_str()), (Some(code), ""), "{output:?}");
    let report: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!(report["status"], ["fine", "warnings", "problems"][code as usize], "{report}");
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(found["severity"], severity, "{found}");
    let (text, remedy) = (found["text"].as_str().unwrap(), found["remedy"].as_str().unwrap());
    for word in words {
        assert!(text.contains(word) || remedy.contains(word), "{word:?} is not in {found:#}");
    }
    // The sentences are the same without JSON.
    let output = scratch.run(&["doctor"]);
    assert_eq!(output.code, Some(code));
    assert!(output.out.contains(&format!("{severity}: {text}\n  {remedy}\n")), "{}", output.out);
    found.clone()
}

fn is_fine(output: &CommandOutput) {
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
    assert!(output.out.starts_with("nothing is wrong with "), "{output:?}");
}

#[test]
fn a_healthy_store_is_fine() {
    let scratch = Scratch::with_store();
    is_fine(&scratch.run(&["doctor"]));
    scratch.ok(&["allocate", "--label", "pod web"]);
    let held = scratch.hold("3");
    is_fine(&scratch.run(&["doctor"]));
    held.release();
    let report = scratch.json(&["doctor", "--json"]);
    assert_eq!((&report["status"], &report["findings"]), (&"fine".into(), &Value::Array(Vec::new())));
    assert_eq!(report["store"], scratch.url());
}

#[test]
fn a_death_that_is_not_dealt_with_is_a_warning() {
    let scratch = Scratch::with_store();
    let mut held = scratch.hold("3");
    held.process.kill().unwrap();
    held.process.wait().unwrap();
    let pid = format!("pid {}", held.pid());
    finding(&scratch, 1, "deaths", "warning", &[&pid, "died while it held lock 3", "run 3 -- true"]);
    // The owner that gets the report does not deal with it.
    assert_eq!(scratch.run(&["run", "3", "--", "false"]).code, Some(1));
    finding(&scratch, 1, "deaths", "warning", &[&pid, "lock 3"]);
    assert_eq!(scratch.run(&["run", "3", "--", "true"]).code, Some(0));
    is_fine(&scratch.run(&["doctor"]));
}

#[test]
fn many_deaths_are_counted() {
    let scratch = Scratch::with_store();
    let args: Vec<_> = (0..12).map(|id| id.to_string()).collect();
    let mut held: Vec<_> = args.iter().map(|id| scratch.hold(id)).collect();
    held.iter_mut().for_each(|held| {
        held.process.kill().unwrap();
        held.process.wait().unwrap();
    });
    let output = scratch.run(&["doctor"]);
    assert_eq!(output.out.matches("died while it held lock").count(), 10, "{}", output.out);
    assert!(output.out.contains("2 more locks have a dead holder"), "{}", output.out);
}

#[cfg(feature = "sem")]
#[test]
fn a_lock_that_stays_held_by_a_dead_owner_is_a_problem_that_names_break() {
    let scratch = Scratch::new();
    let url = format!("posix-sem:{}", scratch.file().display());
    output_of(&mut lockctl(&["create", "--store", &url]));
    let mut held = Held::start(lockctl(&["run", "--store", &url, "3", "--", "sh", "-c", "echo $$; read line"]));
    held.process.kill().unwrap();
    held.process.wait().unwrap();
    let output = output_of(&mut lockctl(&["doctor", "--store", &url]));
    assert_eq!(output.code, Some(2), "{output:?}");
    let remedy = format!("lockctl --store '{url}' break --yes 3");
    assert!(output.out.contains("lock 3 stays held") && output.out.contains(&remedy), "{output:?}");
    output_of(&mut lockctl(&["--store", &url, "break", "--yes", "3"]));
    let output = output_of(&mut lockctl(&["doctor", "--store", &url]));
    assert!(output.code == Some(1) && output.out.contains("no owner has marked the data of the lock consistent"), "{output:?}");
}

#[test]
fn an_allocation_without_a_label_by_a_process_that_ended_is_a_warning() {
    let scratch = Scratch::with_store();
    let running = Held::start(scratch.lockctl(&["run", "--new", "--", "sh", "-c", "echo $$; read line"]));
    is_fine(&scratch.run(&["doctor"]));
    running.release();
    scratch.ok(&["allocate", "--label", "explained"]);
    scratch.ok(&["allocate", "7"]);
    finding(&scratch, 1, "allocations", "warning", &["id 7 has no label", "lockctl free"]);
    scratch.ok(&["allocate", "9"]);
    finding(&scratch, 1, "allocations", "warning", &["2 ids have no label", "7, 9"]);
}

#[test]
fn a_store_with_few_free_ids_is_a_warning_and_a_full_one_a_problem() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=10", scratch.url())]);
    let allocate = || scratch.ok(&["allocate", "--label", "x"]);
    (0..8).for_each(|_| drop(allocate()));
    is_fine(&scratch.run(&["doctor"]));
    allocate();
    finding(&scratch, 1, "capacity", "warning", &["9 of 10 ids are allocated", "capacity="]);
    allocate();
    finding(&scratch, 2, "capacity", "problem", &["10 of 10 ids are allocated"]);
}

#[test]
fn an_absent_store_is_a_problem() {
    finding(&Scratch::new(), 2, "store", "problem", &["there is no such store", "lockctl create"]);
}

#[test]
fn an_unsafe_mode_and_a_damaged_file_are_problems() {
    let scratch = Scratch::with_store();
    fs::set_permissions(scratch.file(), Permissions::from_mode(0o666)).unwrap();
    finding(&scratch, 2, "store", "problem", &["not safe to use", "0666", "change its mode"]);
    fs::set_permissions(scratch.file(), Permissions::from_mode(0o600)).unwrap();
    fs::write(scratch.file(), "not a store").unwrap();
    finding(&scratch, 2, "store", "problem", &["not a lock store"]);
}

#[test]
fn a_store_that_is_replaced_under_a_running_process_is_a_problem() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    is_fine(&scratch.run(&["doctor"]));
    fs::remove_file(scratch.file()).unwrap();
    let pid = format!("pid {}", held.pid());
    finding(&scratch, 2, "replaced", "problem", &["was deleted or replaced", &pid, "restart these processes"]);
    scratch.ok(&["create"]);
    finding(&scratch, 2, "replaced", "problem", &[&pid]);
    held.release();
    is_fine(&scratch.run(&["doctor"]));
}

/// The kernel does not know the path of the store in the process that created it.
#[test]
fn a_process_that_created_a_store_that_is_replaced_is_named() {
    let scratch = Scratch::new();
    let command = ["run", "3", "--", "sh", "-c", "echo $$; read line"];
    let held = Held::start(scratch.lockctl(&command));
    is_fine(&scratch.run(&["doctor"]));
    fs::remove_file(scratch.file()).unwrap();
    scratch.ok(&["create"]);
    let output = scratch.run(&["doctor"]);
    let has_nameless_files = fs::read_to_string(format!("/proc/{}/maps", held.pid())).unwrap().contains("/#");
    let code = if has_nameless_files { 1 } else { 2 };
    assert_eq!(output.code, Some(code), "{output:?}");
    assert!(output.out.contains(&format!("pid {}", held.pid())) && output.out.contains("restart these"), "{output:?}");
    held.release();
    is_fine(&scratch.run(&["doctor"]));
}

#[test]
fn few_open_files_are_a_warning() {
    let scratch = Scratch::with_store();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 100; exec \"$0\" doctor", env!("CARGO_BIN_EXE_lockctl")]).env("LOCKCTL_STORE", scratch.url());
    let output = output_of(&mut shell);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.out.contains("only 100 open files (RLIMIT_NOFILE)") && output.out.contains("ulimit -n"), "{output:?}");
}

#[test]
fn a_url_that_is_not_one_is_an_error_of_usage() {
    for (code, url) in [(64, "none"), (78, "none:x")] {
        let output = output_of(&mut lockctl(&["doctor", "--store", url]));
        assert_eq!((output.code, output.out.as_str()), (Some(code), ""), "{output:?}");
    }
}
