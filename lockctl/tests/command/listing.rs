//! `list`, `info`, `backends`, completions, the manual and the help.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use rstest::rstest;
use serde_json::Value;

use crate::scratch::{Held, Scratch, await_wait, lockctl, output_of};

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
    let titles = "ID STATE HELD BY HELD FOR WAITERS LABEL ALLOCATED ALLOCATED BY ALIVE";
    assert_eq!(lines[0].join(" "), titles);
    assert_eq!(lines[1][..4], ["0", "free", "pod", "web"]);
    assert_eq!(lines[1].last(), Some(&"no"), "the process that allocated it has ended: {lines:?}");
    assert_eq!(lines[2][..3], ["3", "held", &held.pid().to_string()]);
    assert!(lines[2].join(" ").contains("used by lockctl run"), "{lines:?}");
    assert_eq!(lines[2].last(), Some(&"yes"), "its first user lives: {lines:?}");
    assert_eq!(lines.len(), 3);
    let only = scratch.ok(&["list", "--held"]);
    assert_eq!(only.lines().count(), 2, "{only}");
    assert!(only.contains("read line"), "{only}");
    held.release();
    assert_eq!(scratch.ok(&["list", "--held"]).lines().count(), 1);
}

/// A key of a lock in JSON, and whether a value has its type. `docs/lockctl-json.md` describes the keys.
type Key = (&'static str, fn(&Value) -> bool);

const LOCK: [Key; 17] = [
    ("id", Value::is_u64),
    ("state", |value| ["free", "held", "dead_holder", "inconsistent", "doubt", "unknown"].iter().any(|state| value == state)),
    ("allocated", Value::is_boolean),
    ("label", Value::is_string),
    ("is_named", Value::is_boolean),
    ("is_temporary", Value::is_boolean),
    ("generation", |value| value.is_u64() || value.is_null()),
    ("since", |value| value.is_u64() || value.is_null()),
    ("allocator", |value| value.is_null() || has_schema(value, &PROCESS)),
    ("allocator_lives", |value| value.is_boolean() || value.is_null()),
    ("held", |value| value.is_boolean() || value.is_null()),
    ("holder", |value| value.is_null() || has_schema(value, &PROCESS)),
    ("held_for_at_least", |value| value.is_f64() || value.is_null()),
    ("waiters", |value| value.is_u64() || value.is_null()),
    ("longest_wait", |value| value.is_f64() || value.is_null()),
    ("doubt", |value| value.is_string() || value.is_null()),
    ("death", |value| value.is_null() || has_schema(value, &DEATH)),
];

const PROCESS: [Key; 5] = [
    ("pid", Value::is_u64),
    ("tid", |value| value.is_u64() || value.is_null()),
    ("start_time", |value| value.is_u64() || value.is_null()),
    ("pid_namespace", |value| value.is_u64() || value.is_null()),
    ("command", Value::is_string),
];

const DEATH: [Key; 2] = [("holder", |value| value.is_null() || has_schema(value, &PROCESS)), ("cause", Value::is_string)];

fn has_schema(value: &Value, schema: &[Key]) -> bool {
    keys(value) == schema.iter().map(|(key, _)| *key).collect() && schema.iter().all(|(key, is_valid)| is_valid(&value[key]))
}

#[test]
fn each_lock_in_json_has_the_documented_keys_and_types() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "3", "--label", "pod web"]);
    scratch.ok(&["allocate"]);
    let held = scratch.hold("3");
    kill_holder(&scratch, "7");
    let listing = scratch.json(&["list", "--json"]);
    assert_eq!(keys(&listing), ["locks", "store"].into());
    assert_eq!(listing["store"], scratch.url());
    let locks = listing["locks"].as_array().unwrap();
    assert_eq!(locks.iter().map(|lock| lock["id"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 3, 7]);
    for lock in locks {
        for (key, is_valid) in LOCK {
            assert!(lock.get(key).is_some_and(is_valid), "{key} of {lock}");
        }
        assert!(has_schema(lock, &LOCK), "{lock}");
    }
    let document = include_str!("../../../docs/lockctl-json.md");
    for (key, _) in LOCK.iter().chain(&PROCESS).chain(&DEATH) {
        assert!(document.contains(&format!("`{key}`")), "the document does not describe {key}");
    }
    held.release();
}

#[test]
fn a_held_lock_in_json_has_its_holder_and_its_allocator() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "3", "--label", "pod web"]);
    let held = scratch.hold("3");
    let listing = scratch.json(&["list", "--held", "--json"]);
    let lock = &listing["locks"][0];
    assert_eq!((&lock["id"], &lock["label"], &lock["held"]), (&3.into(), &"pod web".into(), &true.into()));
    assert_eq!((&lock["state"], &lock["death"]), (&"held".into(), &Value::Null));
    assert_eq!(lock["holder"]["pid"], held.pid());
    assert!(lock["holder"]["command"].as_str().unwrap().contains("run 3 -- sh -c"), "{lock}");
    assert!(lock["since"].as_u64().unwrap() > 1_600_000_000);
    held.release();
}

#[test]
fn a_wait_is_listed_with_its_length_and_bounds_the_hold() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut waiter = scratch.lockctl(&["run", "3", "--", "true"]).stderr(Stdio::null()).spawn().unwrap();
    await_wait(&mut waiter);
    // The record of a wait is written before the sleep.
    let lock = scratch.entry(3).unwrap();
    assert_eq!((&lock["state"], &lock["waiters"]), (&"held".into(), &1.into()), "{lock}");
    let (wait, hold) = (lock["longest_wait"].as_f64().unwrap(), lock["held_for_at_least"].as_f64());
    assert!(wait >= 0.0 && hold.is_some_and(|hold| hold >= 0.0), "{lock}");
    let later = scratch.entry(3).unwrap();
    assert!(later["longest_wait"].as_f64().unwrap() > wait, "{lock} {later}");
    let table = scratch.ok(&["list"]);
    let row = table.lines().nth(1).unwrap();
    assert!(row.contains('≥') && row.contains("1 ("), "{table}");
    let metrics = scratch.ok(&["metrics"]);
    assert!(metrics.lines().any(|line| line.starts_with("lockctl_waiters{") && line.ends_with(" 1")), "{metrics}");
    for name in ["lockctl_longest_wait_seconds{", "lockctl_longest_hold_seconds{"] {
        let sample = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        assert!(sample.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() > wait, "{sample}");
    }
    held.release();
    assert!(waiter.wait().unwrap().success());
}

/// Kills `lockctl run` while it holds the lock.
fn kill_holder(scratch: &Scratch, id: &str) -> i32 {
    let mut held = scratch.hold(id);
    let pid = held.pid();
    held.process.kill().unwrap();
    held.process.wait().unwrap();
    pid
}

#[test]
fn a_dead_holder_is_listed_until_a_run_has_dealt_with_the_death() {
    let scratch = Scratch::with_store();
    let pid = kill_holder(&scratch, "7");
    let lock = scratch.entry(7).unwrap();
    assert_eq!((&lock["state"], &lock["death"]["holder"]["pid"]), (&"dead_holder".into(), &pid.into()), "{lock}");
    assert_eq!(lock["death"]["cause"], "process_ended", "{lock}");
    let table = scratch.ok(&["list"]);
    let row = table.lines().nth(1).unwrap();
    assert!(row.contains("dead holder") && row.contains(&pid.to_string()) && row.contains("(dead)"), "{table}");

    // It gets the report, and its command fails, so that it does not mark the data consistent.
    assert_eq!(scratch.run(&["run", "7", "--", "false"]).code, Some(1));
    let lock = scratch.entry(7).unwrap();
    assert_eq!((&lock["state"], &lock["death"]["holder"]["pid"]), (&"inconsistent".into(), &pid.into()), "{lock}");
    assert!(scratch.ok(&["list"]).contains("inconsistent"));

    assert_eq!(scratch.run(&["run", "7", "--", "true"]).code, Some(0));
    let lock = scratch.entry(7).unwrap();
    assert_eq!((&lock["state"], &lock["death"]), (&"free".into(), &Value::Null), "{lock}");
}

#[cfg(all(feature = "file", feature = "sem"))]
#[rstest]
#[case("shm")]
#[case("file")]
#[case("sem")]
#[case("posix-sem")]
fn a_dead_holder_is_listed_on_each_backend(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let store = format!("{scheme}:{}", scratch.file().display());
    scratch.ok(&["create", "--store", &store]);
    let mut held = Held::start(scratch.lockctl(&["run", "--store", &store, "3", "--", "sh", "-c", "echo $$; read line"]));
    held.process.kill().unwrap();
    held.process.wait().unwrap();
    let listing = scratch.json(&["list", "--json", "--store", &store]);
    let lock = &listing["locks"][0];
    assert_eq!((&lock["state"], &lock["death"]["holder"]["pid"]), (&"dead_holder".into(), &held.pid().into()), "{lock}");
    assert_eq!(lock["held"], scheme == "posix-sem", "{lock}");
    scratch.ok(&["destroy", "--yes", "--store", &store]);
}

#[rstest]
#[case(&["list"])]
#[case(&["list", "--json"])]
fn a_listing_of_a_large_store_takes_little_memory(#[case] args: &[&str]) {
    // 200 bytes of a store each, so that all of them do not fit into the limit.
    const LOCKS: u32 = 300_000;
    const LIMIT: u64 = 32 << 10;
    let scratch = Scratch::new();
    let mut reconcile = scratch.lockctl(&["reconcile"]);
    let mut child = reconcile.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ids: String = (0..LOCKS).map(|id| format!("{id}\n")).collect();
    child.stdin.take().unwrap().write_all(ids.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());

    let mut list = scratch.lockctl(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(list.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The pipe is too small for the rest, so that the process still runs.
    assert_eq!(lines.by_ref().take(LOCKS as usize - 10_000).count(), LOCKS as usize - 10_000);
    let status = std::fs::read_to_string(format!("/proc/{}/status", list.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse::<u64>().ok());
    assert!(peak.unwrap() <= LIMIT, "{peak:?} KiB");
    assert!((10_000..10_003).contains(&lines.count()), "a line for each lock, and those around them");
    assert!(list.wait().unwrap().success());
}

#[test]
fn the_listing_says_whether_the_allocating_process_lives() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "3"]);
    assert_eq!(scratch.entry(3).unwrap()["allocator_lives"], false);
    let run = Held::start(scratch.lockctl(&["run", "--new", "--", "sh", "-c", "echo $$; read line"]));
    let lock = scratch.entry(0).unwrap();
    assert_eq!((&lock["allocator_lives"], &lock["allocator"]["pid"]), (&true.into(), &run.pid().into()), "{lock}");
    let row = scratch.ok(&["list"]).lines().nth(1).unwrap().to_owned();
    assert!(row.ends_with("yes"), "{row}");
    run.release();
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
