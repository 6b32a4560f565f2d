//! `why` on backends that record holders and waiters.

use std::collections::BTreeSet;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use serde_json::Value;

use crate::scratch::{Held, Scratch, lockctl, output_of};

/// Each backend with holders, by its scheme.
#[rstest]
#[case("shm")]
#[case("file")]
#[case("sem")]
#[case("posix-sem")]
fn a_holder_is_named_with_what_it_does(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let url = format!("{scheme}:{}", scratch.file().display());
    let run = |args: &[&str]| output_of(lockctl(args).env("LOCKCTL_STORE", &url));
    assert_eq!(run(&["create"]).code, Some(0));
    assert_eq!(run(&["allocate", "3", "--label", "pod web"]).code, Some(0));
    let held = Held::start({
        let mut command = lockctl(&["run", "3", "--", "sh", "-c", "echo $$; read line"]);
        command.env("LOCKCTL_STORE", &url);
        command
    });
    let output = run(&["why", "3"]);
    let lines: Vec<_> = output.out.lines().collect();
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{output:?}");
    assert!(lines[0].starts_with(&format!("lock 3 is held by pid {} (", held.pid())), "{output:?}");
    let started = lines[1].strip_prefix(&format!("  pid {} started ", held.pid()));
    assert!(started.is_some_and(|line| line.ends_with("; its first thread sleeps in waitid(2)")), "{output:?}");
    assert!(lines[2].starts_with("  allocated as \"pod web\" ") && lines[2].contains(" ago by pid "), "{output:?}");
    assert_eq!(run(&["why", "4"]).out, "lock 4 is free\n  id 4 is not allocated\nno thread waits for it\n");
    let summary = run(&["why"]);
    assert!(summary.out.starts_with(&format!("store {url}\n")) && summary.out.contains("\n1 lock is held\n"), "{summary:?}");
    held.release();
    assert!(run(&["why", "3"]).out.starts_with("lock 3 is free\n  allocated as "));
    assert_eq!(run(&["destroy", "--yes"]).code, Some(0));
}

/// Each backend that records waiters, by its scheme.
#[rstest]
#[case("shm")]
#[case("file")]
#[case("sem")]
#[case("posix-sem")]
fn waiters_are_named_and_the_holder_has_held_the_lock_for_as_long(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let url = format!("{scheme}:{}", scratch.file().display());
    let run = |args: &[&str]| output_of(lockctl(args).env("LOCKCTL_STORE", &url));
    let json = |args: &[&str]| -> Value { serde_json::from_str(&run(args).out).unwrap() };
    assert_eq!(run(&["create"]).code, Some(0));
    let held = Held::start({
        let mut command = lockctl(&["run", "3", "--", "sh", "-c", "echo $$; read line"]);
        command.env("LOCKCTL_STORE", &url);
        command
    });
    assert!(run(&["why", "3"]).out.contains("no thread waits for it"));
    let mut waiters = [&["run", "3", "--", "true"][..], &["run", "--wait", "100", "3", "--", "true"]]
        .map(|args| lockctl(args).env("LOCKCTL_STORE", &url).stdin(Stdio::null()).spawn().unwrap());
    // Each waits for longer than a second, and not in parts.
    let is_long = |lock: &Value| {
        let waiting = lock["waiting"].as_array().unwrap();
        waiting.len() == 2 && waiting.iter().all(|waiter| waiter["waited"].as_f64() > Some(1.1))
    };
    let mut report = json(&["why", "3", "--json"]);
    while !is_long(&report["locks"][0]) {
        assert!(waiters.iter_mut().all(|waiter| waiter.try_wait().unwrap().is_none()), "a waiter has ended");
        report = json(&["why", "3", "--json"]);
    }
    let lock = &report["locks"][0];
    assert_eq!((&lock["waiters"], &report["names_waiters"]), (&2.into(), &true.into()));
    assert!(lock["held_for_at_least"].as_f64() > Some(1.1), "{lock}");
    let text = run(&["why", "3"]).out;
    let headline = text.lines().next().unwrap();
    assert!(headline.starts_with(&format!("lock 3 is held by pid {} (", held.pid())), "{text}");
    assert!(headline.contains(", for at least "), "{text}");
    for waiter in &waiters {
        let pid = waiter.id();
        let named = |line: &str| line.starts_with(&format!("pid {pid} (")) && line.contains(") waits for it, for at least ");
        assert!(text.lines().any(named), "{text}");
        assert!(lock["waiting"].as_array().unwrap().iter().any(|waiter| waiter["thread"]["pid"] == pid), "{lock}");
    }
    let listed = &json(&["list", "--held", "--json"])["locks"][0];
    assert_eq!(listed["waiters"], 2, "{listed}");
    assert!(listed["held_for_at_least"].as_f64() > Some(1.1), "{listed}");
    held.release();
    waiters.iter_mut().for_each(|waiter| assert!(waiter.wait().unwrap().success()));
    assert!(run(&["why"]).out.contains("\nno thread waits\n"), "{:?}", run(&["why"]));
    assert_eq!(run(&["destroy", "--yes"]).code, Some(0));
}

#[test]
fn a_dead_holder_whose_lock_stays_held_is_named_with_the_advice() {
    let scratch = Scratch::new();
    let url = format!("posix-sem:{}", scratch.file().display());
    let run = |args: &[&str]| output_of(lockctl(args).env("LOCKCTL_STORE", &url));
    assert_eq!(run(&["create"]).code, Some(0));
    let mut command = lockctl(&["run", "3", "--", "sh", "-c", "echo $$; read line"]);
    command.env("LOCKCTL_STORE", &url);
    let held = Held::start(command);
    let pid = held.pid();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    held.end();
    for args in [&["why", "3"][..], &["why"]] {
        let output = run(args);
        let dead = output.out.lines().position(|line| line.starts_with(&format!("lock 3 is held by pid {pid} (")));
        let lines: Vec<_> = output.out.lines().skip(dead.unwrap_or_else(|| panic!("{output:?}"))).collect();
        assert!(lines[0].ends_with(", which is dead"), "{output:?}");
        assert!(lines[1].contains(&format!("`lockctl --store '{url}' break --yes 3`")), "{output:?}");
    }
    let report: Value = serde_json::from_str(&run(&["why", "3", "--json"]).out).unwrap();
    assert_eq!(report["locks"][0]["is_holder_dead"], true, "{report}");
    assert_eq!(run(&["break", "--yes", "3"]).code, Some(0));
    assert!(run(&["why", "3"]).out.starts_with("lock 3 is free\n"));
}

#[test]
fn the_keys_of_an_explanation_are_stable() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let wanted = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    for args in [&["why", "3", "--json"][..], &["why", "--json"]] {
        let report = scratch.json(args);
        assert_eq!(keys(&report), wanted(&["cycles", "details", "held", "locks", "names_waiters", "store", "unseen"]));
    }
    let report = scratch.json(&["why", "3", "--json"]);
    let lock = &report["locks"][0];
    let of_listing = keys(&scratch.json(&["list", "--json"])["locks"][0]);
    let more = wanted(&["is_holder_dead", "objects", "process", "waiting", "waits_for"]);
    assert_eq!(keys(lock), of_listing.union(&more).cloned().collect());
    assert_eq!(keys(&lock["process"]), wanted(&["activity", "age", "is_stopped", "pid", "tid"]));
    assert_eq!((&lock["id"], &lock["process"]["pid"]), (&3.into(), &held.pid().into()));
    held.release();
}

#[test]
fn an_id_out_of_range_and_an_absent_store_are_errors() {
    let scratch = Scratch::with_store();
    assert!(scratch.fails(67, &["why", "4000000000"]).contains("out of range"));
    scratch.fails(66, &["why", "--store", "shm:/dev/shm/none-such"]);
}
