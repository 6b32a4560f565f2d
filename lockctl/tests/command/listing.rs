//! `list`, `info`, `backends`, completions, the manual and the help.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::Value;

use crate::scratch::{Held, Scratch, lockctl, output_of};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_listing_shows_allocated_locks_and_owners() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "--label", "pod web"]);
    let held = scratch.hold("3");
    let lines = scratch.ok(&["list"]);
    let lines: Vec<Vec<_>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "LABEL", "ALLOCATED", "PID", "TID", "COMMAND", "WAITERS"]);
    assert_eq!(lines[1][..3], ["0", "pod", "web"]);
    assert_eq!(lines[1].last(), Some(&"ago"));
    assert_eq!(lines[2][..3], ["3", "no", &held.pid().to_string()]);
    assert_eq!(lines.len(), 3);
    let only = scratch.ok(&["list", "--held"]);
    assert_eq!(only.lines().count(), 2, "{only}");
    assert!(only.contains("read line"), "{only}");
    held.release();
    assert_eq!(scratch.ok(&["list", "--held"]).lines().count(), 1);
}

#[test]
fn the_keys_of_a_listing_are_stable() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "3", "--label", "pod web"]);
    let held = scratch.hold("3");
    let listing = scratch.json(&["list", "--held", "--json"]);
    assert_eq!(keys(&listing), ["locks", "store"].into());
    assert_eq!(listing["store"], scratch.url());
    let lock = &listing["locks"][0];
    let wanted = [
        "allocated",
        "allocator",
        "doubt",
        "generation",
        "held",
        "held_for_at_least",
        "holder",
        "id",
        "is_named",
        "label",
        "since",
        "waiters",
    ];
    assert_eq!(keys(lock), wanted.into());
    assert_eq!(keys(&lock["holder"]), ["command", "pid", "pid_namespace", "start_time", "tid"].into());
    assert_eq!(keys(&lock["allocator"]), keys(&lock["holder"]));
    assert_eq!((&lock["id"], &lock["label"], &lock["held"]), (&3.into(), &"pod web".into(), &true.into()));
    assert_eq!(lock["holder"]["pid"], held.pid());
    assert!(lock["holder"]["command"].as_str().unwrap().contains("run 3 -- sh -c"), "{lock}");
    assert!(lock["since"].as_u64().unwrap() > 1_600_000_000);
    held.release();
}

#[test]
fn a_listing_does_not_delay_or_change_a_lock() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let before = scratch.json(&["list", "--held", "--json"]);
    for _ in 0..5 {
        assert_eq!(scratch.json(&["list", "--held", "--json"]), before);
    }
    assert_eq!(held.release().code, Some(0));
    assert_eq!(scratch.run(&["run", "-n", "3", "--", "true"]).code, Some(0));
}

#[test]
fn control_characters_in_arguments_are_escaped() {
    let scratch = Scratch::with_store();
    let held = Held::start(scratch.lockctl(&["run", "3", "--", "sh", "-c", "echo $$; read line", "\u{1b}[31mred\nline"]));
    let output = scratch.run(&["list"]);
    assert!(!output.out.contains('\u{1b}') && output.out.contains("\\u{1b}[31mred"), "{output:?}");
    assert_eq!(output.out.lines().count(), 2, "{output:?}");
    let line = scratch.fails(1, &["run", "-n", "3", "--", "true"]);
    assert!(!line.contains('\u{1b}'), "{line:?}");
    held.release();
}

#[test]
fn info_shows_a_store_and_its_capabilities() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=64", scratch.url())]);
    scratch.ok(&["allocate"]);
    let info = scratch.json(&["info", "--json"]);
    let wanted = ["allocated", "available", "backend", "capabilities", "capacity", "crate", "details", "id", "store"];
    assert_eq!(keys(&info), wanted.into());
    assert_eq!((&info["capacity"], &info["allocated"], &info["available"]), (&64.into(), &1.into(), &63.into()));
    assert_eq!((&info["backend"], &info["crate"]), (&"shm".into(), &"lock-shm".into()));
    assert_eq!(info["capabilities"]["owner death"], "reported");
    let created = info["details"]["created"].as_str().unwrap();
    let pattern = "dddd-dd-ddTdd:dd:ddZ, in this boot of the system";
    assert_eq!(created.replace(|c: char| c.is_ascii_digit(), "d"), pattern, "{created}");
    let table = scratch.ok(&["info"]);
    assert!(table.contains(info["id"].as_str().unwrap()) && table.contains("lock-shm"), "{table}");
}

#[test]
fn info_warns_when_nine_tenths_are_allocated() {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=64", scratch.url())]);
    let ids: Vec<_> = (0..57).map(|id| id.to_string()).collect();
    let reconcile: Vec<_> = ["reconcile"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    scratch.ok(&reconcile);
    scratch.ok(&["info"]);
    scratch.ok(&["allocate"]);
    for args in [&["info"][..], &["info", "--json"]] {
        let output = scratch.run(args);
        assert_eq!((output.code, output.err.lines().count()), (Some(0), 1), "{output:?}");
        assert!(output.err.starts_with("lockctl: 58 of 64 ids are allocated, and 6 are free; "), "{output:?}");
    }
}

#[test]
fn backends_are_listed_with_their_capabilities() {
    let backends: Value = serde_json::from_str(&output_of(&mut lockctl(&["backends", "--json"])).out).unwrap();
    let shm = backends.as_array().unwrap().iter().find(|backend| backend["scheme"] == "shm").unwrap();
    assert_eq!(keys(shm), ["about", "capabilities", "crate", "scheme"].into());
    assert_eq!(shm["capabilities"]["owner death"], "reported");
    let table = output_of(&mut lockctl(&["backends"])).out;
    assert!(table.contains("shm") && table.contains("owner death"), "{table}");
}

#[rstest]
#[case("bash")]
#[case("zsh")]
#[case("fish")]
fn each_shell_has_a_completion_script(#[case] shell: &str) {
    let output = output_of(&mut lockctl(&["completions", shell]));
    assert_eq!(output.code, Some(0));
    assert!(output.out.contains("reconcile") && !output.out.contains("demo-worker (hidden)"), "{}", output.out);
}

#[test]
fn the_manual_page_has_every_command_and_exit_code() {
    let page = output_of(&mut lockctl(&["man"])).out;
    assert!(page.contains(".TH"), "{page}");
    for word in [".SH RUN", ".SH WHY", ".SH RECONCILE", "conflict\\-exit\\-code", "LOCKCTL_STORE", "there is no such store"] {
        assert!(page.contains(word), "{word} is missing:\n{page}");
    }
    assert!(!page.contains("DEMO-WORKER") && !page.contains("demo\\-worker"), "{page}");
}

#[test]
fn the_help_has_every_exit_code_and_exits_0() {
    let output = output_of(&mut lockctl(&["--help"]));
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
    for code in ["64", "65", "66", "67", "69", "70", "71", "73", "74", "75", "76", "77", "78", "141"] {
        assert!(output.out.lines().any(|line| line.trim_start().starts_with(code)), "{code} is missing:\n{}", output.out);
    }
}
