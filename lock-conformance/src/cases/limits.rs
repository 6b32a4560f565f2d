//! Limits on descriptors, address space, file sizes and room on a file system.
//!
//! An operation that exceeds a limit fails with an error that says so, and leaves the store intact.

use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};
use crate::protocol::{Fields, Refusal};

cases! { "limits";
    without_a_descriptor_left_there_is_an_error_or_none_is_needed [STORE PROCESSES];
    without_address_space_a_store_opens_or_is_refused [STORE];
    without_address_space_a_lock_is_there_or_is_refused [STORE NUMBERED CHOSEN];
    beyond_the_limit_on_file_sizes_a_store_is_made_or_refused [STORE];
    a_store_that_may_not_grow_refuses_and_stays_whole [STORE PROCESSES NUMBERED CHOSEN];
    a_small_file_system_is_enough_for_several_processes [STORE PROCESSES MOUNTS ROOM NUMBERED];
}

/// Returns the error of a failed operation. Its kind has to name a limit of the system.
fn refused(outcome: Result<Fields, Refusal>) -> Option<Refusal> {
    let refusal = outcome.err()?;
    assert!(
        matches!(refusal.kind.as_str(), "Limit" | "System"),
        "an operation exceeded a limit, but the error does not say so: {refusal}"
    );
    Some(refusal)
}

/// Acquires and releases the lock, unless a limit prevents that.
fn lock_or_be_refused(thread: &Thread, lock: LockRef) {
    let name = lock.to_string();
    match thread.ask("try_lock", &[&name]) {
        Ok(fields) => {
            assert!(!fields.has("busy"), "{thread} found the lock {lock} busy, although no thread holds it");
            thread.unlock(lock);
        }
        refusal => drop(refused(refusal)),
    }
}

fn without_a_descriptor_left_there_is_an_error_or_none_is_needed(fixture: &Fixture) {
    let (a, other) = (fixture.peer(), fixture.peer());
    let (used, unused) = (fixture.a_lock(&a), fixture.a_lock(&other));
    a.finds_free(used, "no thread holds it");
    let url = fixture.fresh_url();
    a.must("limit", &["files", "0"]);
    refused(a.ask("probe", &["create", &url]));
    refused(a.ask("probe", &["open", &fixture.url()]));
    lock_or_be_refused(&a, used);
    lock_or_be_refused(&a, unused);
    if need::NUMBERED.is_met(&fixture.suite) {
        refused(a.ask("allocate", &[""]));
        refused(a.ask("allocated", &[]));
    }
    if need::HOLDERS.is_met(&fixture.suite) {
        refused(a.ask("held", &[]));
    }
    a.must("limit", &["files", "back"]);
    other.finds_free(used, "the process without descriptors failed to acquire it, or released it");
    other.finds_free(unused, "the process without descriptors failed to acquire it, or released it");
    for lock in [used, unused] {
        a.lock(lock);
        other.finds_busy(lock, "a process that has descriptors again holds it");
        a.unlock(lock);
    }
    a.must("probe", &["open_or_create", &url]);
}

fn without_address_space_a_store_opens_or_is_refused(fixture: &Fixture) {
    for more in [512, 1024, 2048 + 512, 4096, 16384] {
        let (a, url) = (fixture.blank_peer(), fixture.fresh_url());
        a.must("limit", &["address_space", &format!("+{}", more * 1024)]);
        let refusal = refused(a.ask("open", &["create", &url]));
        a.must("limit", &["address_space", "back"]);
        // Creation may fail before or after the store exists.
        if refusal.is_some() {
            a.must("open", &["open_or_create", &url]);
        }
        let lock = fixture.a_lock(&a);
        a.finds_free(lock, "the store is new");
    }
}

fn without_address_space_a_lock_is_there_or_is_refused(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "1000000"));
    let first = fixture.a_lock(&a);
    a.finds_free(first, "no thread holds it");
    a.must("limit", &["address_space", "+4194304"]);
    let far = LockRef::Number(999_999);
    if refused(a.ask("retrieve", &[&far.to_string()])).is_none() {
        lock_or_be_refused(&a, far);
    }
    a.finds_free(first, "an operation on another lock does not change it");
    a.must("limit", &["address_space", "back"]);
    a.finds_free(far, "no thread holds it");
}

/// Extending a file beyond the limit raises `SIGXFSZ`, which kills the process by default.
fn beyond_the_limit_on_file_sizes_a_store_is_made_or_refused(fixture: &Fixture) {
    for bytes in [4096, 65536, 1 << 20, 3 << 20] {
        let (a, url) = (fixture.blank_peer(), fixture.fresh_url());
        a.must("limit", &["file_size", &bytes.to_string()]);
        if refused(a.ask("open", &["create", &url])).is_some() {
            a.refused("Absent", "open", &["open", &url]);
            a.must("limit", &["file_size", "back"]);
            a.must("open", &["create", &url]);
        }
        let lock = fixture.a_lock(&a);
        a.finds_free(lock, "the store is new");
    }
}

fn a_store_that_may_not_grow_refuses_and_stays_whole(fixture: &Fixture) {
    let url = with_capacity(fixture, "5000");
    let (a, other) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let lock = fixture.a_lock(&a);
    // Smaller than the initial size of most stores, so that the store cannot grow.
    a.must("limit", &["file_size", "65536"]);
    let far = LockRef::Number(4999);
    if refused(a.ask("take", &[&far.to_string(), ""])).is_none() {
        a.finds_free(far, "it exists since before the limit");
    }
    lock_or_be_refused(&a, lock);
    a.must("limit", &["file_size", "back"]);
    a.finds_free(far, "the store may grow again");
    other.finds_free(far, "the store has grown");
    other.finds_free(lock, "no thread holds it");
}

fn a_small_file_system_is_enough_for_several_processes(fixture: &Fixture) {
    let room = fixture.suite.room.expect("the case needs a size");
    let (dir, url) = fixture.fresh_place();
    let a = fixture.blank_peer();
    a.must("mount_small", &[dir.to_str().expect("the scratch path is text"), &room.to_string()]);
    a.must("open", &["create", &url]);
    let ids: Vec<_> = (0..8).map(|_| a.allocate("")).collect();
    // Only the process that mounted the file system and its children can access it.
    for id in ids {
        let lock = LockRef::Number(id);
        let b = fixture.fork(&a);
        b.lock(lock);
        a.finds_busy(lock, "another process holds it");
        fixture.kill(&b.process);
        if need::RELEASED.is_met(&fixture.suite) {
            let grant = a.lock(lock);
            if need::REPORTED.is_met(&fixture.suite) {
                assert_eq!(grant.death.map(|death| death.pid), Some(b.pid()), "the death of the owner was not reported");
            }
            a.unlock(lock);
        }
        a.free(id);
    }
    assert_eq!(a.allocated(), [], "ids are allocated, although all were freed");
    // The mount ends with the process. What the store keeps outside of it has to be removed before.
    if need::REMOVAL.is_met(&fixture.suite) {
        a.must("destroy", &[]);
    }
}
