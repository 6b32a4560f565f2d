//! Full file systems, and file locks that a policy denies.
//!
//! The operation fails with an error that says so, and the process continues.

use std::time::Duration;

use super::cases;
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};
use crate::protocol::{Fields, Refusal};

cases! { "filesystems";
    a_file_system_that_runs_full_ends_no_process [STORE PROCESSES MOUNTS];
    a_holder_releases_its_lock_on_a_full_file_system [STORE PROCESSES MOUNTS];
    denied_file_locks_are_an_error_and_not_a_busy_lock [STORE PROCESSES DENIALS];
    a_store_opens_without_file_locks_or_says_what_is_denied [STORE PROCESSES DENIALS];
}

/// Size of the file system: large for a few locks, and small for the memory of the machine.
const BYTES: usize = 8 << 20;

/// Asserts that an operation succeeded, or failed because the file system is full.
fn done_or_without_room(outcome: Result<Fields, Refusal>) -> Option<Fields> {
    match outcome {
        Ok(fields) => Some(fields),
        Err(refusal) => {
            let is_typed = matches!(refusal.kind.as_str(), "Limit" | "System" | "Exhausted");
            assert!(is_typed, "the file system is full, but the error has the wrong kind: {refusal}");
            None
        }
    }
}

/// Two processes with one store on a small file system, a file that fills it, and a used lock.
struct FullDisk {
    first: Thread,
    second: Thread,
    url: String,
    filler: String,
    lock: LockRef,
}

impl FullDisk {
    fn new(fixture: &Fixture, before: impl FnOnce(&Thread, LockRef)) -> Self {
        let (directory, url) = fixture.fresh_place();
        let directory = directory.to_str().expect("the scratch path is text");
        let first = fixture.blank_peer();
        first.must("mount_small", &[directory, &BYTES.to_string()]);
        first.must("open", &["create", &url]);
        let lock = fixture.a_lock(&first);
        first.finds_free(lock, "the store is new");
        before(&first, lock);
        // A child sees the same file system.
        let second = fixture.fork(&first);
        let filler = format!("{directory}/filler");
        first.must("fill", &[&filler]);
        Self { first, second, url, filler, lock }
    }

    /// Removes the file that fills the file system. The locks must be free afterwards.
    fn end(self, fixture: &Fixture) {
        let Self { first, second, filler, lock, .. } = self;
        first.must("remove_file", &[&filler]);
        first.finds_free(lock, "the file system has room again, and no process holds it");
        second.finds_free(lock, "the file system has room again, and no process holds it");
        // The mount ends with the processes. What the store keeps outside of it has to be removed before.
        if need::REMOVAL.is_met(&fixture.suite) {
            first.must("destroy", &[]);
        }
    }
}

fn a_file_system_that_runs_full_ends_no_process(fixture: &Fixture) {
    let disk = FullDisk::new(fixture, |_, _| {});
    for thread in [&disk.first, &disk.second] {
        let lock = disk.lock.to_string();
        if let Some(fields) = done_or_without_room(thread.ask("try_lock", &[&lock])) {
            assert!(!fields.has("busy"), "no process holds the lock, but {thread} found it busy");
            thread.unlock(disk.lock);
        }
        done_or_without_room(thread.ask("probe", &["open", &disk.url]));
        if need::NUMBERED.is_met(&fixture.suite) {
            if let Some(fields) = done_or_without_room(thread.ask("allocate", &[""])) {
                let id: u32 = fields.get("id");
                done_or_without_room(thread.ask("free", &[&id.to_string()]));
            }
            done_or_without_room(thread.ask("allocated", &[]));
        }
        if need::HOLDERS.is_met(&fixture.suite) {
            done_or_without_room(thread.ask("held", &[]));
        }
    }
    disk.end(fixture);
}

fn a_holder_releases_its_lock_on_a_full_file_system(fixture: &Fixture) {
    let disk = FullDisk::new(fixture, |thread, lock| {
        thread.lock(lock);
    });
    if let Some(fields) = done_or_without_room(disk.second.ask("try_lock", &[&disk.lock.to_string()])) {
        assert!(fields.has("busy"), "a second process acquired a held lock on a full file system");
    }
    disk.first.unlock(disk.lock);
    if let Some(fields) = done_or_without_room(disk.second.ask("try_lock", &[&disk.lock.to_string()])) {
        assert!(!fields.has("busy"), "the holder released the lock on a full file system, but it is busy");
        disk.second.unlock(disk.lock);
    }
    disk.end(fixture);
}

/// Asserts that a refusal says that access is denied.
fn says_what_is_denied(refusal: &Refusal) {
    let says = refusal.text.contains("Permission denied") || refusal.text.contains("not permitted");
    assert!(says, "file locks are denied, but the error has the wrong kind: {refusal}");
}

fn denied_file_locks_are_an_error_and_not_a_busy_lock(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a);
    a.finds_free(lock, "no process holds it");
    a.must("deny_file_locks", &[]);
    let name = lock.to_string();
    match a.ask("try_lock", &[&name]) {
        Ok(fields) => {
            assert!(!fields.has("busy"), "file locks are denied, but {a} found the lock {lock} busy, which no process holds");
            a.unlock(lock);
        }
        Err(refusal) => says_what_is_denied(&refusal),
    }
    if need::DEADLINES.is_met(&fixture.suite) {
        match a.lock_for(lock, Duration::from_millis(50)) {
            Ok(_) => a.unlock(lock),
            Err(refusal) => says_what_is_denied(&refusal),
        }
    }
    fixture.peer().finds_free(lock, "a process to which file locks are denied did not acquire it");
}

fn a_store_opens_without_file_locks_or_says_what_is_denied(fixture: &Fixture) {
    let other = fixture.peer();
    let lock = fixture.a_lock(&other);
    let a = fixture.blank_peer();
    a.must("deny_file_locks", &[]);
    for _ in 0..2 {
        if let Err(refusal) = a.ask("open", &["open", &fixture.url()]) {
            says_what_is_denied(&refusal);
        }
    }
    other.finds_free(lock, "a process to which file locks are denied did not acquire it");
}
