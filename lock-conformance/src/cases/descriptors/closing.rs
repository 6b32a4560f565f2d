//! Programs that close all descriptors, at different times.

use std::time::Duration;

use super::{cases, exclude_each_other, exclude_each_other_in_turn, is_free, stays_held};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Pending, Thread, grant};

cases! { "descriptors";
    closing_everything_before_the_first_lock_keeps_exclusion [STORE PROCESSES CLOSE_RANGE];
    closing_everything_while_holding_keeps_exclusion [STORE PROCESSES CLOSE_RANGE];
    closing_everything_while_waiting_keeps_exclusion [STORE PROCESSES CLOSE_RANGE];
    closing_everything_while_waiting_with_a_deadline_keeps_exclusion [STORE PROCESSES CLOSE_RANGE DEADLINES];
    close_on_exec_for_everything_releases_the_lock_at_exec [STORE PROCESSES CLOSE_RANGE RELEASED];
    no_descriptor_below_three_is_kept [STORE PROCESSES];
}

fn closing_everything_before_the_first_lock_keeps_exclusion(fixture: &Fixture) {
    let (other, program) = (fixture.peer(), fixture.peer());
    let (lock, second) = (fixture.a_lock(&other), fixture.a_lock(&other));
    // The program retrieves one handle before it closes the descriptors, and the other one afterwards.
    program.must("handle", &[&lock.to_string()]);
    program.must("close_everything", &[]);
    exclude_each_other(fixture, &program, &other, lock);
    if second != lock && program.ask("handle", &[&second.to_string()]).is_ok() {
        exclude_each_other_in_turn(&program, &other, second);
    }
}

fn closing_everything_while_holding_keeps_exclusion(fixture: &Fixture) {
    for release in ["unlock", "release"] {
        let (program, other) = (fixture.peer(), fixture.peer());
        let lock = fixture.a_lock(&other);
        program.lock(lock);
        program.must("close_everything", &[]);
        let held = "the program holds it, and closed descriptors";
        stays_held(fixture, &other, lock, held);
        let waiter = fixture.peer().start_lock(lock);
        waiter.waits(held);
        // An error is permitted, but the lock has to be free afterwards.
        let _ = program.ask(release, &[&lock.to_string()]);
        let taker = waiter.thread().clone();
        assert!(waiter.granted().death.is_none(), "a death is reported, although no process died");
        other.finds_busy(lock, "the waiter owns it");
        taker.unlock(lock);
        is_free(&other, lock, "it was released");
    }
}

/// Asserts that the waiter acquires the lock only after `other` has released it, or gets an error.
fn waits_or_gets_an_error(fixture: &Fixture, waiter: Pending, other: &Thread, lock: LockRef) {
    stays_held(fixture, &fixture.peer(), lock, "another process holds it");
    let thread = waiter.thread().clone();
    let early = waiter.has_answered();
    if !early {
        other.unlock(lock);
    }
    match waiter.outcome() {
        Ok(fields) => {
            let granted = grant(&fields).expect("lock() never finds a lock busy");
            assert!(!early, "{thread}, whose process closed descriptors, acquired the lock that another process holds");
            assert!(granted.death.is_none(), "a death is reported, although no process died");
            stays_held(fixture, other, lock, "a thread that waited for it holds it");
            thread.unlock(lock);
        }
        Err(_) if early => other.unlock(lock),
        Err(_) => {}
    }
    is_free(other, lock, "it was released");
}

fn closing_everything_while_waiting_keeps_exclusion(fixture: &Fixture) {
    let (other, program) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    let thread = program.process.thread("t1");
    thread.must("handle", &[&lock.to_string()]);
    other.lock(lock);
    let waiter = thread.start_lock(lock);
    waiter.waits("another process holds the lock");
    program.must("close_everything", &[]);
    waits_or_gets_an_error(fixture, waiter, &other, lock);
}

fn closing_everything_while_waiting_with_a_deadline_keeps_exclusion(fixture: &Fixture) {
    // The first wait ends before its deadline, the second one at its deadline.
    for deadline in [Duration::from_secs(3600), Duration::from_millis(300)] {
        let (other, program) = (fixture.peer(), fixture.peer());
        let lock = fixture.a_lock(&other);
        let thread = program.process.thread("t1");
        thread.must("handle", &[&lock.to_string()]);
        other.lock(lock);
        let waiter = thread.start("lock_for", &[&lock.to_string(), &deadline.as_nanos().to_string()]);
        waiter.waits("another process holds the lock");
        program.must("close_everything", &[]);
        if deadline > super::LONGER_THAN_A_CHECK {
            waits_or_gets_an_error(fixture, waiter, &other, lock);
        } else {
            let came_back = waiter.outcome();
            assert!(came_back.is_err(), "{thread} acquired the lock that another process holds: {came_back:?}");
            other.unlock(lock);
            is_free(&other, lock, "it was released");
        }
    }
}

fn close_on_exec_for_everything_releases_the_lock_at_exec(fixture: &Fixture) {
    let (program, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    program.lock(lock);
    program.must("close_on_exec", &[]);
    stays_held(fixture, &other, lock, "the program holds it, and has not called exec yet");
    let after = fixture.exec(&program);
    let granted = other.lock(lock);
    if need::REPORTED.is_met(&fixture.suite) {
        let told = granted.death.map(|death| death.pid);
        assert_eq!(told, Some(program.pid()), "the owner called exec, but its death is not reported");
    }
    after.must("open", &["open", &fixture.url()]);
    after.finds_busy(lock, "another process acquired it");
    other.mark_consistent(lock);
    other.unlock(lock);
    exclude_each_other_in_turn(&after, &other, lock);
}

/// `println!` would write into a file of the library that is open under a number below 3.
fn no_descriptor_below_three_is_kept(fixture: &Fixture) {
    let (program, url) = (fixture.blank_peer(), fixture.url());
    let kept_none = |when: &str| {
        program.must("write_standard", &[]);
        let kept: Vec<_> = program.process.descriptors().into_iter().filter(|number| *number < 3).collect();
        assert_eq!(kept, [0; 0], "the library keeps descriptors below 3 {when}");
    };
    program.must("close_standard", &[]);
    program.must("open", &["open_or_create", &url]);
    kept_none("after opening a store");
    let other = fixture.peer();
    let lock = fixture.a_lock(&program);
    program.lock(lock);
    kept_none("while it holds a lock");
    program.unlock(lock);
    other.lock(lock);
    let waiter = program.process.thread("t1").start_lock(lock);
    waiter.waits("another process holds the lock");
    kept_none("while it waits");
    other.unlock(lock);
    let thread = waiter.thread().clone();
    waiter.granted();
    thread.unlock(lock);
    if need::NUMBERED.is_met(&fixture.suite) {
        program.free(program.allocate(""));
        kept_none("after allocating and freeing");
    }
    // The store is undamaged, for the program and for a new process.
    let newcomer = fixture.peer();
    exclude_each_other_in_turn(&program, &newcomer, lock);
    kept_none("after many locks");
}
