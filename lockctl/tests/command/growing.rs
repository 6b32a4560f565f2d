//! `grow`, `reclaim` and `destroy`, and ids of `run --new` that were left behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use serde_json::json;

use crate::scratch::{Held, Scratch};

/// A store with four locks.
fn small() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(&["create", "--store", &format!("{}?capacity=4", scratch.url())]);
    scratch
}

#[test]
fn a_full_store_grows_with_everything_in_it() {
    let scratch = small();
    for label in ["a", "b", "c", "d"] {
        scratch.ok(&["allocate", "--label", label]);
    }
    assert!(scratch.fails(75, &["allocate"]).contains("lockctl grow"));
    let held = scratch.hold("3");
    let before = scratch.json(&["list", "--json"]);
    assert_eq!(scratch.ok(&["grow", "8"]), "");
    assert_eq!(scratch.json(&["list", "--json"]), before);
    assert_eq!(scratch.json(&["info", "--json"])["capacity"], 8);
    assert_eq!(scratch.ok(&["allocate"]), "4\n");
    scratch.fails(1, &["run", "-n", "3", "--", "true"]);
    assert_eq!(held.release().code, Some(0));
    scratch.ok(&["run", "-n", "7", "--", "true"]);
    scratch.fails(67, &["run", "-n", "8", "--", "true"]);
}

#[test]
fn a_store_cannot_become_smaller_and_growing_twice_is_no_error() {
    let scratch = small();
    scratch.ok(&["grow", "8"]);
    scratch.ok(&["grow", "8"]);
    let line = scratch.fails(76, &["grow", "4"]);
    assert!(line.contains("8, not 4") && line.contains("smaller"), "{line}");
    scratch.ok(&["grow", "unbounded"]);
    assert!(scratch.fails(76, &["grow", "8"]).contains("unbounded, not 8"));
    assert!(scratch.fails(76, &["grow", "4294967296"]).contains("4294967295"));
    for bad in ["", "-1", "x", "1.5"] {
        assert_eq!(scratch.run(&["grow", "--", bad]).code, Some(64), "{bad}");
    }
}

#[test]
fn a_url_with_a_greater_capacity_says_how_to_raise_it_and_an_earlier_one_stays_valid() {
    let scratch = small();
    let list = |capacity: u32| scratch.run(&["--store", &format!("{}?capacity={capacity}", scratch.url()), "list"]);
    let refused = list(8);
    assert_eq!(refused.code, Some(76));
    assert!(refused.err.contains("4, not 8") && refused.err.contains("lockctl grow 8"), "{refused:?}");
    scratch.ok(&["grow", "8"]);
    for capacity in [4, 8] {
        assert_eq!(list(capacity).code, Some(0), "{capacity}");
    }
    assert_eq!(list(3).code, Some(76));
}

/// Kills a run of `--new` with SIGKILL, so that its id stays allocated.
fn leave_behind(scratch: &Scratch) {
    let held = Held::start(scratch.lockctl(&["run", "--new", "--", "sh", "-c", "echo $$; read line"]));
    kill(Pid::from_raw(held.pid()), Signal::SIGKILL).unwrap();
    held.end();
}

#[test]
fn ids_of_killed_runs_are_reclaimed() {
    let scratch = small();
    scratch.ok(&["allocate", "--label", "kept"]);
    leave_behind(&scratch);
    leave_behind(&scratch);
    let running = Held::start(scratch.lockctl(&["run", "--new", "--", "sh", "-c", "echo $$; read line"]));
    let temporary = |id| scratch.entry(id).unwrap()["is_temporary"].clone();
    assert_eq!([0, 1, 2, 3].map(temporary), [json!(false), json!(true), json!(true), json!(true)]);
    assert_eq!(scratch.ok(&["reclaim"]), "freed 1\nfreed 2\n");
    assert_eq!(scratch.json(&["reclaim", "--json"]), json!({ "freed": [] }));
    assert!(scratch.entry(0).is_some() && scratch.entry(3).is_some());
    assert_eq!(running.release().code, Some(0));
    assert!(scratch.entry(3).is_none());
}

#[test]
fn killed_runs_do_not_fill_a_store() {
    let scratch = small();
    for _ in 0..4 {
        leave_behind(&scratch);
    }
    scratch.fails(75, &["allocate"]);
    scratch.ok(&["run", "--new", "--", "true"]);
    let locks = scratch.json(&["list", "--json"])["locks"].take();
    // The deaths of the killed runs are still listed.
    assert!(locks.as_array().unwrap().iter().all(|lock| lock["allocated"] == false), "{locks}");
}

#[test]
fn a_store_with_a_living_holder_is_destroyed_only_by_force() {
    let scratch = Scratch::with_store();
    let held: Vec<_> = (3..8).map(|id| scratch.hold(&id.to_string())).collect();
    let line = scratch.fails(75, &["destroy", "--yes"]);
    for (id, held) in (3..6).zip(&held) {
        assert!(line.contains(&format!("pid {}", held.pid())) && line.contains(&format!("holds lock {id}")), "{line}");
    }
    assert!(line.contains("and 2 more locks are held") && line.contains("--force"), "{line}");
    assert_eq!(scratch.run(&["destroy", "--force"]).code, Some(64), "--yes is missing");
    assert!(scratch.file().exists());
    scratch.ok(&["destroy", "--yes", "--force"]);
    assert!(!scratch.file().exists());
    held.into_iter().for_each(|held| drop(held.release()));
}

#[cfg(feature = "sem")]
#[test]
fn a_refusal_to_destroy_mentions_the_waiters() {
    let scratch = Scratch::new();
    let url = format!("sem:{}", scratch.file().display());
    scratch.ok(&["create", "--store", &url]);
    let held = Held::start(scratch.lockctl(&["--store", &url, "run", "3", "--", "sh", "-c", "echo $$; read line"]));
    let mut waiter = scratch.lockctl(&["--store", &url, "run", "3", "--", "true"]).spawn().unwrap();
    while scratch.json(&["--store", &url, "list", "--json"])["locks"][0]["waiters"] != 1 {
        assert!(waiter.try_wait().unwrap().is_none(), "it has ended");
    }
    let line = scratch.fails(75, &["--store", &url, "destroy", "--yes"]);
    assert!(line.contains("holds lock 3, for which") && line.contains("waits"), "{line}");
    held.release();
    assert!(waiter.wait().unwrap().success());
    scratch.ok(&["--store", &url, "destroy", "--yes"]);
}

#[rstest]
#[case("shm")]
#[cfg_attr(feature = "file", case("file"))]
#[cfg_attr(feature = "sem", case("sem"))]
#[cfg_attr(feature = "sem", case("posix-sem"))]
fn a_dead_holder_does_not_keep_a_store(#[case] scheme: &str) {
    let scratch = Scratch::new();
    let url = format!("{scheme}:{}", scratch.file().display());
    scratch.ok(&["create", "--store", &url]);
    let held = Held::start(scratch.lockctl(&["--store", &url, "run", "3", "--", "sh", "-c", "echo $$; read line"]));
    let line = scratch.fails(75, &["--store", &url, "destroy", "--yes"]);
    assert!(line.contains(&format!("pid {}", held.pid())), "{line}");
    kill(Pid::from_raw(held.pid()), Signal::SIGKILL).unwrap();
    held.end();
    scratch.ok(&["--store", &url, "destroy", "--yes"]);
}
