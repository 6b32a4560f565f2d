//! Locks by name: `run`, `list`, `why` and `free`.

use rstest::rstest;
use serde_json::json;

use crate::scratch::{Held, Scratch};

const LOCKCTL: &str = env!("CARGO_BIN_EXE_lockctl");

#[test]
fn a_word_is_the_name_of_a_lock() {
    let scratch = Scratch::with_store();
    let listing = scratch.json(&["run", "nightly", LOCKCTL, "list", "--json"]);
    let lock = &listing["locks"][0];
    assert_eq!((&lock["label"], &lock["is_named"], &lock["held"]), (&"nightly".into(), &true.into(), &true.into()));
    scratch.fails(1, &["run", "nightly", "--", LOCKCTL, "run", "-n", "nightly", "--", "true"]);
    scratch.ok(&["run", "nightly", "--", LOCKCTL, "run", "-n", "weekly", "true"]);
    // The same lock as with the option.
    scratch.fails(1, &["run", "nightly", LOCKCTL, "run", "-n", "--name", "nightly", "true"]);
}

#[test]
fn processes_that_race_for_a_name_use_one_lock() {
    let scratch = Scratch::with_store();
    let print = ["run", "nightly", "sh", "-c", "echo $LOCKCTL_ID"];
    let racers: Vec<_> = (0..8).map(|_| scratch.lockctl(&print).stdout(std::process::Stdio::piped()).spawn().unwrap()).collect();
    let outputs: Vec<_> = racers.into_iter().map(|racer| racer.wait_with_output().unwrap()).collect();
    let locks = scratch.json(&["list", "--json"])["locks"].clone();
    assert_eq!(locks.as_array().unwrap().len(), 1);
    let id = format!("{}\n", locks[0]["id"]);
    assert!(outputs.iter().all(|output| output.status.success() && output.stdout == id.as_bytes()), "{outputs:?}");
}

#[test]
fn a_lock_is_listed_explained_and_freed_by_its_name() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "--label", "nightly"]);
    let held = Held::start(scratch.lockctl(&["run", "nightly", "sh", "-c", "echo $$; read line"]));
    scratch.ok(&["run", "weekly", "true"]);
    let listing = scratch.json(&["list", "nightly", "--json"]);
    let locks = listing["locks"].as_array().unwrap();
    assert_eq!(locks.len(), 1, "{listing}");
    assert_eq!((&locks[0]["label"], &locks[0]["is_named"], &locks[0]["held"]), (&"nightly".into(), &true.into(), &true.into()));
    let id = locks[0]["id"].to_string();
    assert_eq!(locks[0]["holder"]["pid"], held.pid());
    assert_eq!(scratch.json(&["list", "weekly", &id, "7", "--json"])["locks"].as_array().unwrap().len(), 3);
    assert_eq!(scratch.json(&["list", "--held", "weekly", &id, "7", "--json"])["locks"].as_array().unwrap().len(), 1);
    let lines = scratch.ok(&["list", "nightly"]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let report = scratch.ok(&["why", "nightly"]);
    assert!(report.contains(&format!("pid {}", held.pid())), "{report}");
    held.release();
    scratch.ok(&["free", "weekly", "nightly"]);
    // The label of the other allocation is no name.
    let left = scratch.json(&["list", "--json"])["locks"].clone();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"], &left[0]["is_named"]), (1, &0.into(), &false.into()));
}

#[rstest]
fn a_search_for_a_name_allocates_nothing(#[values("list", "why", "free")] command: &str) {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "--label", "nightly"]);
    let line = scratch.fails(67, &[command, "nightly"]);
    assert!(line.contains("no lock with the name \"nightly\""), "{line}");
    assert_eq!(scratch.json(&["list", "--json"])["locks"].as_array().unwrap().len(), 1);
    scratch.fails(67, &[command, "4294967296"]);
    scratch.fails(67, &[command, "1048576"]);
}

#[test]
fn freeing_goes_on_after_a_name_that_is_absent() {
    let scratch = Scratch::with_store();
    scratch.ok(&["run", "nightly", "true"]);
    scratch.fails(67, &["free", "absent", "nightly"]);
    assert_eq!(scratch.json(&["list", "--json"])["locks"], json!([]));
}

#[test]
fn a_file_with_the_name_of_a_lock_is_mentioned_with_verbose_only() {
    let scratch = Scratch::with_store();
    std::fs::write(scratch.path().join("nightly"), "").unwrap();
    let run = |options: &[&str]| {
        let mut run = scratch.lockctl(&[&["run"], options, &["nightly", "true"]].concat());
        crate::scratch::output_of(run.current_dir(scratch.path()))
    };
    assert_eq!(run(&[]).err, "");
    let output = run(&["--verbose"]);
    assert!(output.err.contains("write ./nightly"), "{output:?}");
    assert!(output.out.contains("lockctl: executing true\n"), "{output:?}");
}

#[test]
fn a_name_that_no_word_can_be_is_given_with_the_option() {
    let scratch = Scratch::with_store();
    for name in ["7", "a/b", "."] {
        let listing = scratch.json(&["run", "--name", name, "--", LOCKCTL, "list", "--held", "--json"]);
        assert_eq!((&listing["locks"][0]["label"], &listing["locks"][0]["is_named"]), (&name.into(), &true.into()));
    }
}
