//! Copies of stores. A copy is a separate store or is refused, and it does not affect the original.

use std::fs;
use std::path::Path;

use super::cases;
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};

cases! { "copies";
    a_copy_has_another_identity_or_is_refused [STORE FILES PROCESSES];
    the_locks_of_a_copy_are_others_or_it_is_refused [STORE FILES PROCESSES];
    using_a_copy_leaves_the_original_as_it_is [STORE FILES PROCESSES];
    destroying_a_copy_leaves_the_original_as_it_is [STORE FILES PROCESSES REMOVAL];
    a_copy_of_a_store_in_use_leaves_its_owner_alone [STORE FILES PROCESSES];
    a_store_that_was_moved_is_the_same [STORE FILES PROCESSES];
}

/// A store with a lock that was used, and its copy in another directory.
struct Pair {
    original: Thread,
    id: String,
    lock: LockRef,
    copied_to: String,
}

impl Pair {
    /// If `held`, the copy is made while the original's lock is held.
    fn new(fixture: &Fixture, held: bool) -> Self {
        let (from, url) = fixture.fresh_place();
        let original = fixture.blank_peer();
        let id = original.must("open", &["create", &url]).get("id");
        let lock = fixture.a_lock(&original);
        original.lock(lock);
        if !held {
            original.unlock(lock);
            // A copy of a store that a process has open may be refused.
            fixture.kill(&original.process);
        }
        let (to, copied_to) = fixture.fresh_place();
        copy(&from, &to);
        let original = if held { original } else { fixture.peer_with(&url) };
        Self { original, id, lock, copied_to }
    }

    /// Returns a process that has opened the copy; `None` if that is refused with a typed error.
    fn opened(&self, fixture: &Fixture) -> Option<(Thread, String)> {
        let peer = fixture.blank_peer();
        match peer.ask("open", &["open", &self.copied_to]) {
            Ok(facts) => Some((peer, facts.get("id"))),
            Err(refusal) => {
                let typed = ["NotAStore", "Untrusted", "Corrupt", "Replaced", "Destroyed"];
                assert!(typed.contains(&refusal.kind.as_str()), "a copy is refused, but the error has the wrong kind: {refusal}");
                None
            }
        }
    }
}

/// Copies all files of a directory into another one.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the directory of the store can be read").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            fs::create_dir(&target).expect("the directory can be created");
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("the store's files can be copied");
        }
    }
}

fn a_copy_has_another_identity_or_is_refused(fixture: &Fixture) {
    let pair = Pair::new(fixture, false);
    if let Some((_, id)) = pair.opened(fixture) {
        assert_ne!(id, pair.id, "a store and its copy have the same identity");
    }
}

fn the_locks_of_a_copy_are_others_or_it_is_refused(fixture: &Fixture) {
    let pair = Pair::new(fixture, false);
    let Some((copy, _)) = pair.opened(fixture) else { return };
    pair.original.lock(pair.lock);
    copy.lock(pair.lock);
    fixture.blank_peer().must("open", &["open", &pair.copied_to]);
    let third = fixture.peer_with(&pair.copied_to);
    third.finds_busy(pair.lock, "the copy's lock is held");
    pair.original.unlock(pair.lock);
    third.finds_busy(pair.lock, "the copy's lock is held, and the original's was released");
    copy.unlock(pair.lock);
    third.finds_free(pair.lock, "the copy's lock was released");
}

fn using_a_copy_leaves_the_original_as_it_is(fixture: &Fixture) {
    let pair = Pair::new(fixture, false);
    pair.original.lock(pair.lock);
    if let Some((copy, _)) = pair.opened(fixture) {
        for _ in 0..3 {
            copy.lock(pair.lock);
            copy.unlock(pair.lock);
        }
        if need::NUMBERED.is_met(&fixture.suite) {
            copy.must("free_all", &[]);
        }
        fixture.kill(&copy.process);
    }
    is_as_before(fixture, &pair);
}

fn destroying_a_copy_leaves_the_original_as_it_is(fixture: &Fixture) {
    let pair = Pair::new(fixture, false);
    pair.original.lock(pair.lock);
    if let Some((copy, _)) = pair.opened(fixture) {
        copy.lock(pair.lock);
        copy.unlock(pair.lock);
        copy.must("destroy", &[]);
    }
    is_as_before(fixture, &pair);
}

fn a_copy_of_a_store_in_use_leaves_its_owner_alone(fixture: &Fixture) {
    let pair = Pair::new(fixture, true);
    if let Some((copy, _)) = pair.opened(fixture) {
        // The copy records an owner that is alive but holds only the original's lock.
        drop(copy.ask("try_lock", &[&pair.lock.to_string()]));
        fixture.kill(&copy.process);
    }
    is_as_before(fixture, &pair);
}

/// Asserts that the original's held lock excludes others and can be released.
fn is_as_before(fixture: &Fixture, pair: &Pair) {
    let url = pair.original.must("url", &[]).get::<String>("url");
    let other = fixture.peer_with(&url);
    other.finds_busy(pair.lock, "the original's lock is held");
    if let LockRef::Number(id) = pair.lock {
        assert_eq!(other.allocated(), [id], "the copy changed the allocations of the original");
    }
    pair.original.unlock(pair.lock);
    let granted = other.finds_free(pair.lock, "the original's lock was released");
    assert!(granted.death.is_none(), "a death is reported, although no owner died");
    pair.original.must("check", &[]);
}

/// A moved store has other paths, but the same files.
fn a_store_that_was_moved_is_the_same(fixture: &Fixture) {
    let (from, url) = fixture.fresh_place();
    let original = fixture.blank_peer();
    let id: String = original.must("open", &["create", &url]).get("id");
    let lock = fixture.a_lock(&original);
    original.lock(lock);
    original.unlock(lock);
    fixture.kill(&original.process);
    let (to, url) = fixture.fresh_place();
    for entry in fs::read_dir(&from).expect("the directory of the store can be read").flatten() {
        fs::rename(entry.path(), to.join(entry.file_name())).expect("the store can be moved");
    }
    let (one, other) = (fixture.blank_peer(), fixture.blank_peer());
    for peer in [&one, &other] {
        let seen: String = peer.must("open", &["open", &url]).get("id");
        assert_eq!(seen, id, "a store that was moved has another identity");
    }
    one.lock(lock);
    other.finds_busy(lock, "another thread holds it");
}
