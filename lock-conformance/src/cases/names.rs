//! Locks that are found by name.

use std::collections::{BTreeMap, BTreeSet};

use super::{allocated_after_kill, cases, with_capacity};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Pending, Thread};

cases! { "names";
    a_name_leads_to_one_lock_in_all_processes [NAMES PROCESSES];
    different_names_are_different_locks [NAMES];
    processes_that_race_for_names_get_the_same_locks [NAMES PROCESSES];
    threads_that_race_for_names_get_the_same_locks [NAMES];
    a_label_is_not_a_name [NAMES LABELS];
    a_name_is_listed_as_the_label [NAMES LABELS PROCESSES];
    a_freed_name_is_allocated_again [NAMES];
    a_handle_of_a_freed_name_is_stale [NAMES GENERATIONS PROCESSES];
    a_name_outlives_the_process_that_allocated_it [NAMES PROCESSES LASTING];
    names_are_found_among_many_ids [NAMES CHOSEN PROCESSES];
    a_full_store_refuses_new_names_and_finds_the_others [NAMES CHOSEN];
    names_use_every_free_id [NAMES CHOSEN];
    processes_that_are_killed_leave_no_incomplete_name [NAMES CHOSEN PROCESSES];
    a_killed_process_does_not_block_names [NAMES CHOSEN PROCESSES];
    a_bad_name_is_refused_and_allocates_nothing [NAMES];
    a_name_is_refused_and_allocates_nothing [NUMBERED] unless NAMES;
}

fn named(thread: &Thread, name: &str) -> u32 {
    thread.must("named", &[name]).get("id")
}

fn a_name_leads_to_one_lock_in_all_processes(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = named(&a, "build cache");
    for thread in [&a, &b, &fixture.peer()] {
        assert_eq!(named(thread, "build cache"), id, "a name leads to another id than before");
    }
    assert_eq!(b.allocated(), [id], "other ids than that of the only name are allocated");
    a.lock(LockRef::Number(id));
    b.finds_busy(LockRef::Number(id), "another process holds the lock with that name");
    a.unlock(LockRef::Number(id));
    b.finds_free(LockRef::Number(id), "it was released");
}

fn different_names_are_different_locks(fixture: &Fixture) {
    let a = fixture.peer();
    let longest = "x".repeat(lock_core::Label::MAX - 1);
    let names: Vec<_> = ["web", "Web", "web ", " web", "we", "web1", "web2", "wbe", "é", "e"].map(str::to_owned).into();
    let names: Vec<_> = names.into_iter().chain(["a", "b", ""].map(|end| format!("{longest}{end}"))).collect();
    let ids: BTreeMap<_, _> = names.iter().map(|name| (named(&a, name), name)).collect();
    assert_eq!(ids.len(), names.len(), "different names lead to one id");
    for (id, name) in &ids {
        assert_eq!(named(&a, name), *id, "a name leads to another id than before");
    }
    assert!(a.allocated().into_iter().eq(ids.into_keys()), "other ids than those of the names are allocated");
}

/// Number of repetitions, and of the names in each.
const ROUNDS: u32 = 10;
const NAMES: u32 = 24;

/// Lets the threads race for names that are new in each round.
fn race(fixture: &Fixture, threads: &[Thread]) {
    for round in 0..ROUNDS * scale() {
        let (path, arena) = fixture.arena(1);
        let names: Vec<_> = (0..NAMES).map(|number| format!("race {round} {number}")).collect();
        let path = path.to_str().expect("the scratch path is text");
        let arguments: Vec<_> = std::iter::once(path).chain(names.iter().map(String::as_str)).collect();
        let racing: Vec<_> = threads.iter().map(|thread| thread.start("race_to_name", &arguments)).collect();
        for racer in &racing {
            racer.begun();
        }
        arena.go();
        let ids: Vec<_> = racing.into_iter().map(Pending::done).map(|fields| fields.numbers("ids")).collect();
        for of_thread in &ids {
            assert_eq!(*of_thread, ids[0], "threads that raced for a new name got different ids");
        }
        let set: BTreeSet<_> = ids[0].iter().copied().collect();
        assert_eq!(set.len() as u32, NAMES, "different names lead to one id");
        assert!(threads[0].allocated().into_iter().eq(set), "other ids than those of the names are allocated after a race");
        threads[0].must("free_all", &[]);
    }
}

fn processes_that_race_for_names_get_the_same_locks(fixture: &Fixture) {
    let threads: Vec<_> = (0..4).map(|_| fixture.peer()).collect();
    race(fixture, &threads);
}

fn threads_that_race_for_names_get_the_same_locks(fixture: &Fixture) {
    let first = fixture.peer();
    let threads: Vec<_> = (0..4).map(|number| first.process.thread(&format!("t{number}"))).collect();
    race(fixture, &threads);
}

fn a_label_is_not_a_name(fixture: &Fixture) {
    let a = fixture.peer();
    let labelled = a.allocate("web");
    a.must("take", &["30", "web"]);
    let id = named(&a, "web");
    assert!(id != labelled && id != 30, "a name leads to an id that was allocated with the same label, but not by name");
    a.free(id);
    a.must("take", &[&id.to_string(), "web"]);
    assert_ne!(named(&a, "web"), id, "a name leads to an id that was freed, and allocated with the same label, but not by name");
}

fn a_name_is_listed_as_the_label(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let longest = "n".repeat(lock_core::Label::MAX);
    let ids = ["web", &longest].map(|name| (named(&a, name), name.to_owned(), true));
    let plain = (a.allocate("plain"), "plain".to_owned(), false);
    let listed = b.must("allocated", &[]);
    for (id, label, is_named) in ids.into_iter().chain([plain]) {
        let found: (String, bool) = (listed.get(&format!("label.{id}")), listed.get(&format!("is_named.{id}")));
        assert_eq!(found, (label, is_named), "the list has another label of the id {id}, or names it incorrectly");
    }
}

fn a_freed_name_is_allocated_again(fixture: &Fixture) {
    let a = fixture.peer();
    for _ in 0..3 {
        let id = named(&a, "web");
        a.free(id);
        assert_eq!(a.allocated(), [], "the id of a name was not freed");
        let again = named(&a, "web");
        assert_eq!(a.allocated(), [again], "the id of a name that was freed is not allocated again");
        a.must("free_all", &[]);
        assert_eq!(a.allocated(), [], "the id of a name was not freed with all others");
    }
}

fn a_handle_of_a_freed_name_is_stale(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = named(&a, "web").to_string();
    b.free(named(&b, "web"));
    b.must("take", &[&id, "another"]);
    a.refused("Stale", "free_handle", &[&id]);
    let stale: bool = a.must("stale", &[&id]).get("stale");
    assert!(stale, "the id of a name was freed and allocated again, and an earlier handle is not stale");
    let again = named(&a, "web").to_string();
    assert_ne!(again, id, "a name leads to an id that another allocation has");
    let stale: bool = a.must("stale", &[&again]).get("stale");
    assert!(!stale, "a new handle of a name is stale");
}

fn a_name_outlives_the_process_that_allocated_it(fixture: &Fixture) {
    let a = fixture.peer();
    let ids: Vec<_> = ["web", "data"].iter().map(|name| named(&a, name)).collect();
    fixture.kill(&a.process);
    let b = fixture.peer();
    let found: Vec<_> = ["web", "data"].iter().map(|name| named(&b, name)).collect();
    assert_eq!(found, ids, "names lead to other ids after the process that allocated them has ended");
}

fn names_are_found_among_many_ids(fixture: &Fixture) {
    let url = with_capacity(fixture, "2048");
    let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let mut ids = a.must("allocate_many", &["200"]).numbers("ids");
    let names = a.must("name_many", &["many ", "300"]).numbers("ids");
    ids.extend(a.must("allocate_many", &["100"]).numbers("ids"));
    let found = b.must("name_many", &["many ", "300"]).numbers("ids");
    assert_eq!(found, names, "names lead to other ids than before, beside many allocated ids");
    let all: BTreeSet<_> = ids.iter().chain(&names).copied().collect();
    assert_eq!(all.len(), 600, "an id was allocated twice");
    // Names are also found after the ids that were allocated before them are freed.
    for id in ids {
        b.free(id);
    }
    let found = b.must("name_many", &["many ", "300"]).numbers("ids");
    assert_eq!(found, names, "names lead to other ids after other ids were freed");
}

fn a_full_store_refuses_new_names_and_finds_the_others(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "130"));
    let names = a.must("name_many", &["old ", "10"]).numbers("ids");
    a.must("allocate_many", &["1000"]);
    let refusal = a.refused("Exhausted", "named", &["new"]);
    let said: (u64, u64) = (refusal.fields.get("capacity"), refusal.fields.get("allocated"));
    assert_eq!(said, (130, 130), "the error has the wrong capacity or count: {}", refusal.text);
    let found = a.must("name_many", &["old ", "10"]);
    assert_eq!(found.find::<String>("refusal"), None, "a full store does not find the names that it has");
    assert_eq!(found.numbers("ids"), names, "names lead to other ids after the store became full");
    a.free(64);
    assert_eq!(named(&a, "new"), 64, "a new name does not get the only free id");
}

fn names_use_every_free_id(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "130"));
    let filled = a.must("name_many", &["name ", "1000"]);
    let (ids, refusal): (Vec<_>, String) = (filled.numbers("ids"), filled.get("refusal"));
    let set: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(set, (0..130).collect(), "a store of 130 locks allocates the ids 0 to 129; it refused with {refusal:?}");
    let found = a.must("name_many", &["name ", "130"]).numbers("ids");
    assert_eq!(found, ids, "names lead to other ids after the store became full");
}

/// Kills a process that finds and frees names.
fn kill_while_naming(fixture: &Fixture, url: &str, wait: &mut u32) {
    let victim = fixture.peer_with(url);
    let (path, arena) = fixture.arena(1);
    let naming = victim.start("name_and_free", &[path.to_str().expect("the scratch path is text"), "killed "]);
    naming.begun();
    arena.go();
    fixture.wait_until("the process finds names", || arena.place(0).done() >= 4);
    // A different delay in each round. The result does not depend on it.
    *wait = wait.wrapping_mul(1_103_515_245).wrapping_add(12345);
    (0..*wait >> 15).for_each(|_| std::hint::spin_loop());
    fixture.kill(&victim.process);
}

fn processes_that_are_killed_leave_no_incomplete_name(fixture: &Fixture) {
    let url = with_capacity(fixture, "160");
    let watcher = fixture.peer_with(&url);
    let mut wait: u32 = 54321;
    for _ in 0..20 * scale() {
        kill_while_naming(fixture, &url, &mut wait);
        let listed = allocated_after_kill(fixture, &watcher);
        let left = listed.numbers("ids");
        let mut names = BTreeSet::new();
        for id in left.iter().filter(|_| need::LABELS.is_met(&fixture.suite)) {
            let (name, is_named): (String, bool) = (listed.get(&format!("label.{id}")), listed.get(&format!("is_named.{id}")));
            assert!(is_named && name.starts_with("killed "), "a killed process left the id {id} with the label {name:?}");
            assert_eq!(named(&watcher, &name), *id, "a killed process left a name that is not found");
            assert!(names.insert(name), "a killed process left two ids with one name");
        }
        assert!(left.len() <= 2, "the process had at most two names at a time, but left the ids {left:?}");
        left.iter().for_each(|id| watcher.free(*id));
        let all = watcher.must("allocate_many", &["1000"]).numbers("ids");
        assert_eq!(all.len(), 160, "an id was lost with a killed process");
        watcher.must("free_all", &[]);
    }
}

fn a_killed_process_does_not_block_names(fixture: &Fixture) {
    let url = with_capacity(fixture, "160");
    let watcher = fixture.peer_with(&url);
    let mut wait: u32 = 98765;
    for _ in 0..20 * scale() {
        kill_while_naming(fixture, &url, &mut wait);
        let found = watcher.must("name_many", &["killed ", "8"]);
        assert_eq!(found.find::<String>("refusal"), None, "a name is refused after a process that used it was killed");
        let more = watcher.must("name_many", &["other ", "100"]);
        assert_eq!(more.find::<String>("refusal"), None, "another name is refused after a process was killed");
        watcher.must("free_all", &[]);
    }
}

fn a_bad_name_is_refused_and_allocates_nothing(fixture: &Fixture) {
    let a = fixture.peer();
    for bad in ["", "a\nb", &"x".repeat(lock_core::Label::MAX + 1)] {
        a.refused("BadLabel", "named", &[bad]);
    }
    assert_eq!(a.allocated(), [], "a bad name allocated an id");
}

fn a_name_is_refused_and_allocates_nothing(fixture: &Fixture) {
    let a = fixture.peer();
    a.refused("Unsupported", "named", &["web"]);
    assert_eq!(a.allocated(), [], "a refused name allocated an id");
}
