//! Owners that panic.
//!
//! The unwinding releases the lock, and the next owner receives a report as after a death.

use lock_core::Cause;

use super::cases;
use super::death_reports::gets_no_report;
use crate::fixture::Fixture;
use crate::process::{Grant, LockRef, Thread};

cases! { "death_reports";
    a_panic_is_reported_until_an_owner_marks_the_lock_consistent [LASTING_REPORTS];
    a_panic_is_reported_to_other_processes [PROCESSES LASTING_REPORTS];
    a_panic_that_closes_the_store_names_its_process [PROCESSES LASTING_REPORTS];
    a_panic_keeps_its_cause_after_the_death_of_its_process [PROCESSES LASTING_REPORTS];
    a_sleeping_waiter_gets_the_report_of_a_panic [LASTING_REPORTS];
    an_acquisition_while_unwinding_is_no_report [LASTING_REPORTS];
    an_acquisition_while_unwinding_keeps_the_report [LASTING_REPORTS];
    a_panic_that_is_caught_inside_is_no_report [LASTING_REPORTS];
    a_panic_after_a_death_is_reported_next [PROCESSES REPORTED LASTING_REPORTS];
    a_death_after_a_panic_is_reported_next [PROCESSES REPORTED LASTING_REPORTS];
    breaking_a_lock_keeps_its_report [LASTING_REPORTS BREAKING NUMBERED PROCESSES];
    a_panic_is_not_reported [] unless LASTING_REPORTS;
}

/// Two threads of a peer, and a lock.
fn owner_and_other(fixture: &Fixture) -> (Thread, Thread, LockRef) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    (process.process.thread("t1"), process, lock)
}

/// Acquires the lock and panics.
fn panic_inside(owner: &Thread, lock: LockRef) {
    owner.lock(lock);
    owner.must("panic", &[&lock.to_string()]);
}

/// Asserts that the guard reports the panic of this thread.
fn reports_panic(grant: &Grant, owner: &Thread, tid: u32) {
    let told = grant
        .death
        .as_ref()
        .unwrap_or_else(|| panic!("{owner} panicked holding the lock, but the next owner received no report"));
    assert_eq!(told.cause, Cause::Panicked, "{owner} panicked, but the report has another cause");
    assert_eq!(told.pid, owner.pid(), "{owner} panicked, but the report names another process");
    assert!([tid, 0].contains(&told.tid), "thread {tid} panicked, but the report names thread {}", told.tid);
}

fn a_panic_is_reported_until_an_owner_marks_the_lock_consistent(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let (name, tid) = (lock.to_string(), owner.tid());
    for way in ["lock", "lock_owned"] {
        owner.start(way, &[&name]).granted();
        owner.must("panic", &[&name]);
        for thread in [&other, &owner, &other] {
            reports_panic(&thread.lock(lock), &owner, tid);
            thread.unlock(lock);
        }
        other.lock(lock);
        other.mark_consistent(lock);
        other.unlock(lock);
        for thread in [&owner, &other] {
            gets_no_report(thread, lock, "an owner marked the lock consistent");
        }
    }
}

fn a_panic_is_reported_to_other_processes(fixture: &Fixture) {
    let (owner, _, lock) = owner_and_other(fixture);
    let other = fixture.peer();
    panic_inside(&owner, lock);
    reports_panic(&other.lock(lock), &owner, owner.tid());
    other.unlock(lock);
    reports_panic(&fixture.peer().lock(lock), &owner, owner.tid());
}

/// The unwinding drops the guard and then the only handle on the store in the process.
fn a_panic_that_closes_the_store_names_its_process(fixture: &Fixture) {
    let (other, owner) = (fixture.peer(), fixture.blank_peer());
    let lock = fixture.a_lock(&other);
    owner.must("panic_and_close", &[&fixture.url(), &lock.to_string()]);
    for thread in [&other, &fixture.peer()] {
        reports_panic(&thread.lock(lock), &owner, owner.tid());
        thread.unlock(lock);
    }
}

fn a_panic_keeps_its_cause_after_the_death_of_its_process(fixture: &Fixture) {
    let (owner, _, lock) = owner_and_other(fixture);
    let (other, tid) = (fixture.peer(), owner.tid());
    panic_inside(&owner, lock);
    fixture.kill(&owner.process);
    for _ in 0..2 {
        reports_panic(&other.lock(lock), &owner, tid);
        other.unlock(lock);
    }
}

fn a_sleeping_waiter_gets_the_report_of_a_panic(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    owner.lock(lock);
    let waiter = other.start_lock(lock);
    waiter.waits("the owner lives");
    owner.must("panic", &[&lock.to_string()]);
    reports_panic(&waiter.granted(), &owner, owner.tid());
}

fn an_acquisition_while_unwinding_is_no_report(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let told = owner.must("lock_while_panicking", &[&lock.to_string()]);
    assert!(!told.has("death"), "no owner died, but an owner that unwound received the report {told:?}");
    for thread in [&other, &owner] {
        gets_no_report(thread, lock, "the panic began before the lock was acquired");
    }
}

fn an_acquisition_while_unwinding_keeps_the_report(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let tid = owner.tid();
    panic_inside(&owner, lock);
    let told = other.must("lock_while_panicking", &[&lock.to_string()]);
    assert!(told.has("death"), "{owner} panicked holding the lock, but an owner that unwound received no report");
    reports_panic(&other.lock(lock), &owner, tid);
}

fn a_panic_that_is_caught_inside_is_no_report(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    owner.lock(lock);
    owner.must("panic_inside", &[]);
    owner.unlock(lock);
    gets_no_report(&other, lock, "the panic was caught before its owner released the lock");
}

fn a_panic_after_a_death_is_reported_next(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    for marks in [false, true] {
        let dead = fixture.peer();
        dead.lock(lock);
        fixture.kill(&dead.process);
        let told = owner.lock(lock).death.map(|death| death.pid);
        assert_eq!(told, Some(dead.pid()), "an owner died, but the next one received no report");
        if marks {
            owner.mark_consistent(lock);
        }
        owner.must("panic", &[&lock.to_string()]);
        for _ in 0..2 {
            reports_panic(&other.lock(lock), &owner, owner.tid());
            other.unlock(lock);
        }
    }
}

fn a_death_after_a_panic_is_reported_next(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let dead = fixture.peer();
    panic_inside(&owner, lock);
    reports_panic(&dead.lock(lock), &owner, owner.tid());
    fixture.kill(&dead.process);
    for _ in 0..2 {
        let told = other.lock(lock).death.expect("an owner died, but the next one received no report");
        assert_eq!(told.pid, dead.pid(), "process {} died after {owner} panicked, but the report names another one", dead.pid());
        assert_ne!(told.cause, Cause::Panicked, "{dead} was killed, but a panic is reported");
        other.unlock(lock);
    }
}

fn breaking_a_lock_keeps_its_report(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let (name, tid) = (lock.to_string(), owner.tid());
    let next = fixture.peer();
    panic_inside(&owner, lock);
    reports_panic(&other.lock(lock), &owner, tid);
    next.must("break", &[&name]);
    reports_panic(&next.lock(lock), &owner, tid);
    other.refused("Lost", "mark_consistent", &[&name]);
    other.refused("Lost", "unlock", &[&name]);
    next.unlock(lock);
    reports_panic(&other.lock(lock), &owner, tid);
}

fn a_panic_is_not_reported(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    panic_inside(&owner, lock);
    gets_no_report(&other, lock, "the backend does not claim to report panics");
}
