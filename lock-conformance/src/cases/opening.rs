//! Opening, creating and destroying stores.

use std::fs;
use std::os::unix::fs::symlink;

use super::{cases, with_option};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Pending, Thread};
use crate::protocol::Refusal;

cases! { "opening";
    an_absent_store_is_refused_and_not_made [STORE];
    creating_what_exists_is_refused_and_changes_nothing [STORE PROCESSES];
    opening_or_creating_opens_what_exists [STORE PROCESSES];
    two_stores_are_two [STORE];
    two_spellings_of_a_place_are_one_store [STORE REMOVAL LOCAL];
    of_racing_creators_one_wins [STORE PROCESSES];
    all_racing_initialisers_get_one_store [STORE PROCESSES];
    a_racing_opener_sees_a_whole_store_or_none [STORE PROCESSES];
    killed_creators_leave_no_half_built_store [STORE PROCESSES];
    a_store_outlives_the_processes_that_use_it [STORE PROCESSES LASTING];
    the_capacity_is_the_one_that_was_chosen [CHOSEN];
    another_capacity_is_refused_with_both_numbers [CHOSEN];
    a_capacity_that_is_none_is_refused [CHOSEN];
    a_choice_of_capacity_is_refused [STORE] unless CHOSEN;
    an_unknown_option_is_refused_by_name [STORE];
    who_may_not_open_a_store_is_refused [STORE PROCESSES ROOT LOCAL];
    a_full_file_system_is_an_error_and_nothing_worse [STORE MOUNTS];
    a_destroyed_store_is_absent [STORE PROCESSES REMOVAL];
    a_destroyed_store_leaves_nothing_behind [STORE REMOVAL];
    handles_on_a_destroyed_store_go_on_excluding_each_other [STORE PROCESSES REMOVAL];
    destroying_is_refused_and_changes_nothing [STORE PROCESSES] unless REMOVAL;
}

fn an_absent_store_is_refused_and_not_made(fixture: &Fixture) {
    let (a, url) = (fixture.blank_peer(), fixture.url());
    a.refused("Absent", "open", &["open", &url]);
    a.refused("Absent", "open", &["open", &url]);
    a.must("open", &["create", &url]);
    a.must("open", &["open", &url]);
}

fn creating_what_exists_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (a, b, url) = (fixture.blank_peer(), fixture.blank_peer(), fixture.url());
    let id: String = a.must("open", &["create", &url]).get("id");
    let lock = fixture.a_lock(&a);
    a.lock(lock);
    a.process.thread("t1").refused("Exists", "probe", &["create", &url]);
    b.refused("Exists", "open", &["create", &url]);
    let seen: String = b.must("open", &["open", &url]).get("id");
    assert_eq!(seen, id, "a refused creation replaced the store");
    b.finds_busy(lock, "a refused creation does not release it");
}

fn opening_or_creating_opens_what_exists(fixture: &Fixture) {
    let (a, b, url) = (fixture.blank_peer(), fixture.blank_peer(), fixture.url());
    let id: String = a.must("open", &["open_or_create", &url]).get("id");
    let lock = fixture.a_lock(&a);
    a.lock(lock);
    for mode in ["open_or_create", "open"] {
        let seen: String = b.must("open", &[mode, &url]).get("id");
        assert_eq!(seen, id, "{mode} opened another store than the existing one");
        b.finds_busy(lock, "another process that has the same store open holds it");
    }
}

fn two_stores_are_two(fixture: &Fixture) {
    let (a, b) = (fixture.blank_peer(), fixture.blank_peer());
    let first: String = a.must("open", &["create", &fixture.fresh_url()]).get("id");
    let second: String = b.must("open", &["create", &fixture.fresh_url()]).get("id");
    assert_ne!(first, second, "two stores have the same identity");
    let lock = fixture.a_lock(&a);
    let other = fixture.a_lock(&b);
    a.lock(lock);
    b.finds_free(other, "only a lock of another store is held");
}

/// Asserts that the lock is busy through the thread's handle and through many new ones.
fn is_busy_by_all_handles(thread: &Thread, lock: LockRef) {
    let why = "it is held through another path to the same store";
    thread.finds_busy(lock, why);
    let granted: u32 = thread.must("try_new_handles", &[&lock.to_string(), "60"]).get("granted");
    assert_eq!(granted, 0, "{thread} acquired the lock {lock} through {granted} of 60 new handles, although {why}");
}

/// A backend that identifies stores by their paths takes this store for two.
///
/// Threads of one process then do not exclude each other.
///
/// Stores that cannot be removed are exempt: another program names their locks, as LXC does by the text of a path.
fn two_spellings_of_a_place_are_one_store(fixture: &Fixture) {
    let base = fixture.fresh_dir();
    fs::create_dir_all(base.join("real/below")).expect("the directory can be created");
    symlink("real", base.join("link")).expect("the link can be created");
    let [plain, linked] = ["real/below", "link/below"].map(|place| fixture.url_in(&base.join(place)));
    fixture.will_make(&plain);
    let (a, other) = (fixture.blank_peer(), fixture.blank_peer());
    let id: String = a.must("open", &["create", &plain]).get("id");
    let b = a.process.thread("t1");
    for (thread, verb) in [(&b, "open_own"), (&other, "open")] {
        let found: String = thread.must(verb, &["open", &linked]).get("id");
        assert_eq!(found, id, "a store has another identity if its path contains a symbolic link");
    }
    let lock = fixture.a_lock(&a);
    let others: &[&Thread] = if need::PROCESSES.is_met(&fixture.suite) { &[&b, &other] } else { &[&b] };
    for thread in others {
        a.lock(lock);
        is_busy_by_all_handles(thread, lock);
        a.unlock(lock);
        thread.lock(lock);
        is_busy_by_all_handles(&a, lock);
        thread.unlock(lock);
    }
    if need::REENTRY.is_met(&fixture.suite) {
        let c = a.process.thread("t2");
        c.lock(lock);
        c.must("open_own", &["open", &linked]);
        c.refused("AlreadyHeld", "lock", &[&lock.to_string()]);
        c.unlock(lock);
    }
}

/// Opens one URL in four processes at the same time, and returns the identities or the kinds of errors.
fn race(fixture: &Fixture, modes: [&str; 4]) -> Vec<Result<String, String>> {
    let url = fixture.fresh_url();
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    let racing: Vec<_> = modes.iter().map(|mode| fixture.blank_peer().start("race_to_open", &[path, mode, &url])).collect();
    for racer in &racing {
        racer.begun();
    }
    arena.go();
    let outcomes = racing.into_iter().map(Pending::outcome);
    outcomes.map(|outcome| outcome.map(|fields| fields.get("id")).map_err(|refusal| refusal.kind)).collect()
}

fn of_racing_creators_one_wins(fixture: &Fixture) {
    for _ in 0..6 * scale() {
        let outcomes = race(fixture, ["create"; 4]);
        let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(winners, 1, "{winners} of 4 creators of one store succeeded: {outcomes:?}");
        let losers = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        losers.for_each(|kind| assert_eq!(kind, "Exists", "a failed racer received another error"));
    }
}

fn all_racing_initialisers_get_one_store(fixture: &Fixture) {
    for _ in 0..6 * scale() {
        let outcomes = race(fixture, ["open_or_create"; 4]);
        let first = outcomes[0].as_ref().unwrap_or_else(|kind| panic!("an initialiser was refused: {kind}"));
        let all_same = outcomes.iter().all(|outcome| outcome.as_ref() == Ok(first));
        assert!(all_same, "initialisers opened different stores: {outcomes:?}");
    }
}

fn a_racing_opener_sees_a_whole_store_or_none(fixture: &Fixture) {
    for _ in 0..6 * scale() {
        let outcomes = race(fixture, ["open", "create", "open", "open_or_create"]);
        let stores: Vec<_> = outcomes.iter().flatten().collect();
        assert!(stores.windows(2).all(|pair| pair[0] == pair[1]), "racing processes opened different stores: {outcomes:?}");
        for opener in [&outcomes[0], &outcomes[2]] {
            let seen = opener.as_ref().map_or_else(String::as_str, |_| "Absent");
            assert_eq!(seen, "Absent", "a store under construction is neither absent nor complete");
        }
    }
}

fn killed_creators_leave_no_half_built_store(fixture: &Fixture) {
    let mut wait: u32 = 54321;
    for _ in 0..12 * scale() {
        let url = fixture.fresh_url();
        let (path, arena) = fixture.arena(1);
        let victim = fixture.blank_peer();
        let making = victim.start("race_to_open", &[path.to_str().expect("the scratch path is text"), "create", &url]);
        making.begun();
        arena.go();
        // A different delay in each round. The result does not depend on it.
        wait = wait.wrapping_mul(1_103_515_245).wrapping_add(12345);
        (0..wait >> 18).for_each(|_| std::hint::spin_loop());
        fixture.kill(&victim.process);
        let next = fixture.blank_peer();
        next.must("open", &["open_or_create", &url]);
        let lock = fixture.a_lock(&next);
        next.finds_free(lock, "the store is new");
    }
}

fn a_store_outlives_the_processes_that_use_it(fixture: &Fixture) {
    let (a, url) = (fixture.blank_peer(), fixture.url());
    let id: String = a.must("open", &["create", &url]).get("id");
    fixture.kill(&a.process);
    let seen: String = fixture.blank_peer().must("open", &["open", &url]).get("id");
    assert_eq!(seen, id, "the store did not outlive the process that created it");
}

fn the_capacity_is_the_one_that_was_chosen(fixture: &Fixture) {
    for capacity in [1, 7, 33, 5000] {
        let url = with_option(&fixture.fresh_url(), &format!("capacity={capacity}"));
        let (a, b) = (fixture.blank_peer(), fixture.blank_peer());
        let made: u64 = a.must("open", &["create", &url]).get("capacity");
        let seen: u64 = b.must("open", &["open", &url]).get("capacity");
        assert_eq!((made, seen), (capacity, capacity), "the capacity is not the one that was chosen");
        if need::NUMBERED.is_met(&fixture.suite) {
            assert_eq!(b.available(), Some(capacity), "the number of free ids of a new store is not its capacity");
        }
    }
}

fn another_capacity_is_refused_with_both_numbers(fixture: &Fixture) {
    let url = fixture.url();
    let (a, b) = (fixture.blank_peer(), fixture.blank_peer());
    let id: String = a.must("open", &["create", &with_option(&url, "capacity=96")]).get("id");
    for mode in ["open", "open_or_create"] {
        let refusal = b.refused("OtherCapacity", "open", &[mode, &with_option(&url, "capacity=160")]);
        let said: (String, String) = (refusal.fields.get("found"), refusal.fields.get("asked"));
        assert!(said.0.contains("96") && said.1.contains("160"), "the error does not contain both capacities: {}", refusal.text);
    }
    for same in [url.clone(), with_option(&url, "capacity=96")] {
        let seen: String = b.must("open", &["open", &same]).get("id");
        assert_eq!(seen, id, "another store was opened, although the URL has no capacity or the right one");
    }
}

fn a_capacity_that_is_none_is_refused(fixture: &Fixture) {
    let (a, url) = (fixture.blank_peer(), fixture.url());
    for value in ["0", "many", "-1", ""] {
        let refusal = a.refused("BadUrl", "open", &["open_or_create", &with_option(&url, &format!("capacity={value}"))]);
        assert!(refusal.text.contains("capacity"), "the error does not name the wrong option: {}", refusal.text);
    }
    a.refused("Absent", "open", &["open", &url]);
}

fn a_choice_of_capacity_is_refused(fixture: &Fixture) {
    let (a, url) = (fixture.blank_peer(), fixture.url());
    a.refused("BadUrl", "open", &["open_or_create", &with_option(&url, "capacity=64")]);
}

fn an_unknown_option_is_refused_by_name(fixture: &Fixture) {
    let (a, url) = (fixture.blank_peer(), fixture.url());
    for mode in ["create", "open_or_create", "open"] {
        let refusal = a.refused("BadUrl", "open", &[mode, &with_option(&url, "capacty=64")]);
        assert!(refusal.text.contains("capacty"), "the error does not name the unknown option: {}", refusal.text);
    }
    a.refused("Absent", "open", &["open", &url]);
}

fn who_may_not_open_a_store_is_refused(fixture: &Fixture) {
    let (owner, unprivileged, url) = (fixture.peer(), fixture.blank_peer(), fixture.url());
    let lock = fixture.a_lock(&owner);
    owner.lock(lock);
    unprivileged.must("become_nobody", &[]);
    for mode in ["open", "open_or_create", "create"] {
        let refusal = unprivileged.ask("open", &[mode, &url]).expect_err("a process without permission must not open the store");
        let kinds = ["System", "Untrusted", "Exists"];
        assert!(kinds.contains(&refusal.kind.as_str()), "the error has the wrong kind: {refusal}");
    }
    fixture.peer().finds_busy(lock, "a process without permission tried to open the store");
}

/// Accessing a page that the file system cannot allocate raises `SIGBUS`, which would kill the peer.
fn a_full_file_system_is_an_error_and_nothing_worse(fixture: &Fixture) {
    for pages in [1, 2, 3, 4, 6, 8, 12, 16, 32, 64] {
        let (dir, url) = fixture.fresh_place();
        let a = fixture.blank_peer();
        a.must("mount_small", &[dir.to_str().expect("the scratch path is text"), &(pages * 4096).to_string()]);
        if let Err(refusal) = a.ask("open", &["create", &url]) {
            assert!(is_about_room(&refusal), "{pages} pages are too few, but the error has the wrong kind: {refusal}");
            let after = a.ask("open", &["open", &url]).expect_err("a store whose creation failed must not open");
            assert_eq!(after.kind, "Absent", "a failed creation left an incomplete store: {after}");
            continue;
        }
        if !need::NUMBERED.is_met(&fixture.suite) {
            a.finds_free(LockRef::Single, "the store is new");
            continue;
        }
        for _ in 0..200 {
            let outcome = a.ask("allocate", &[""]).and_then(|fields| {
                let id: u32 = fields.get("id");
                a.ask("try_lock", &[&id.to_string()])
            });
            if let Err(refusal) = outcome {
                let is_typed = is_about_room(&refusal) || refusal.kind == "Exhausted";
                assert!(is_typed, "{pages} pages are too few, but the error has the wrong kind: {refusal}");
                break;
            }
        }
        a.must("allocated", &[]);
        // The mount ends with the peer. What the store keeps outside of it has to be removed before.
        if need::REMOVAL.is_met(&fixture.suite) {
            a.must("destroy", &[]);
        }
    }
}

fn is_about_room(refusal: &Refusal) -> bool {
    matches!(refusal.kind.as_str(), "System" | "Limit")
}

fn a_destroyed_store_is_absent(fixture: &Fixture) {
    let (a, b, url) = (fixture.blank_peer(), fixture.blank_peer(), fixture.url());
    let first: String = a.must("open", &["create", &url]).get("id");
    b.must("open", &["open", &url]);
    b.must("destroy", &[]);
    let c = fixture.blank_peer();
    c.refused("Absent", "open", &["open", &url]);
    let second: String = c.must("open", &["create", &url]).get("id");
    assert_ne!(first, second, "a new store has the identity of a destroyed one");
}

fn a_destroyed_store_leaves_nothing_behind(fixture: &Fixture) {
    let (dir, url) = fixture.fresh_place();
    let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let lock = fixture.a_lock(&a);
    a.finds_free(lock, "no thread holds it");
    b.must("destroy", &[]);
    fixture.kill(&a.process);
    fixture.kill(&b.process);
    let left: Vec<_> = fs::read_dir(&dir).expect("the directory can be read").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "a destroyed store left {left:?} in its directory");
}

fn destroying_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&a);
    a.lock(lock);
    b.refused("Unsupported", "destroy", &[]);
    let c = fixture.blank_peer();
    c.must("open", &["open", &fixture.url()]);
    c.finds_busy(lock, "destroying the store was refused");
    a.unlock(lock);
    c.finds_free(lock, "it was released");
}

fn handles_on_a_destroyed_store_go_on_excluding_each_other(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&a);
    if let LockRef::Number(id) = lock {
        b.must("retrieve", &[&id.to_string()]);
    }
    b.finds_free(lock, "no thread holds it");
    a.lock(lock);
    a.must("destroy", &[]);
    b.finds_busy(lock, "destroying the store does not release it");
    a.unlock(lock);
    b.finds_free(lock, "it was released");
}
