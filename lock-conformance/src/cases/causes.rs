//! The cause in a report, which is right or [`Cause::Unknown`].

use lock_core::Cause;

use super::cases;
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{Grant, LockRef, Thread};

cases! { "death_reports";
    the_end_of_a_process_has_that_cause [PROCESSES REPORTED];
    the_end_of_a_process_has_that_cause_for_a_sleeping_waiter [PROCESSES REPORTED];
    an_exec_has_that_cause [PROCESSES REPORTED];
    an_exec_has_that_cause_for_a_sleeping_waiter [PROCESSES REPORTED];
    the_end_of_a_thread_has_that_cause [THREAD_DEATH];
    the_end_of_a_thread_has_that_cause_for_a_sleeping_waiter [THREAD_DEATH];
}

/// Asserts that the guard reports this cause, or that it is unknown.
fn has_cause(fixture: &Fixture, grant: &Grant, cause: Cause, what: &str) {
    let told = grant.death.as_ref().unwrap_or_else(|| panic!("the owner ended by {what}, but the next one received no report"));
    // A server only knows that the session has ended.
    let is_of_session = told.cause == Cause::SessionEnded && need::SESSIONS.is_met(&fixture.suite);
    assert!(
        is_of_session || [cause, Cause::Unknown].contains(&told.cause),
        "the owner ended by {what}, but the report says {:?}",
        told.cause
    );
}

/// Starts a process with several threads. Returns the thread that holds the lock, and the main thread.
fn owner_among_threads(fixture: &Fixture, lock: LockRef, name: &str) -> (Thread, Thread) {
    let main = fixture.peer();
    for idle in ["idle1", "idle2", "idle3"] {
        main.process.thread(idle).must("ping", &[]);
    }
    let owner = main.process.thread(name);
    owner.lock(lock);
    (owner, main)
}

/// The ends of a process, each with the thread that owns the lock.
const ENDS: [(&str, &str); 6] =
    [("kill", "main"), ("kill", "t1"), ("exit", "main"), ("exit", "t1"), ("abort", "main"), ("abort", "t1")];

fn the_end_of_a_process_has_that_cause(fixture: &Fixture) {
    let other = fixture.peer();
    let lock = fixture.a_lock(&other);
    for (end, name) in ENDS {
        let (owner, main) = owner_among_threads(fixture, lock, name);
        end_process(fixture, &owner, end);
        fixture.reap(&main.process);
        has_cause(fixture, &other.lock(lock), Cause::ProcessEnded, end);
        other.mark_consistent(lock);
        other.unlock(lock);
    }
}

/// The lock may become free before all threads of the process have ended.
fn the_end_of_a_process_has_that_cause_for_a_sleeping_waiter(fixture: &Fixture) {
    let other = fixture.peer();
    let lock = fixture.a_lock(&other);
    for (end, name) in ENDS.iter().cycle().take(ENDS.len() * 3 * scale() as usize) {
        let (owner, main) = owner_among_threads(fixture, lock, name);
        let waiter = other.start_lock(lock);
        waiter.waits("the owner lives");
        end_process(fixture, &owner, end);
        has_cause(fixture, &waiter.granted(), Cause::ProcessEnded, end);
        other.mark_consistent(lock);
        other.unlock(lock);
        fixture.reap(&main.process);
    }
}

fn end_process(fixture: &Fixture, owner: &Thread, end: &str) {
    match end {
        "kill" => fixture.kill(&owner.process),
        verb => drop(owner.start(verb, &[])),
    }
}

/// The thread that calls `exec`, and the thread that owns the lock.
const EXECS: [(&str, &str); 4] = [("main", "main"), ("t1", "t1"), ("t1", "main"), ("main", "t1")];

fn an_exec_has_that_cause(fixture: &Fixture) {
    let other = fixture.peer();
    let lock = fixture.a_lock(&other);
    for (caller, name) in EXECS {
        let (_, main) = owner_among_threads(fixture, lock, name);
        fixture.exec(&main.process.thread(caller));
        has_cause(fixture, &other.lock(lock), Cause::Executed, "exec");
        other.mark_consistent(lock);
        other.unlock(lock);
    }
}

fn an_exec_has_that_cause_for_a_sleeping_waiter(fixture: &Fixture) {
    let other = fixture.peer();
    let lock = fixture.a_lock(&other);
    for (caller, name) in EXECS.iter().cycle().take(EXECS.len() * 3 * scale() as usize) {
        let (_, main) = owner_among_threads(fixture, lock, name);
        let waiter = other.start_lock(lock);
        waiter.waits("the owner lives");
        fixture.exec(&main.process.thread(caller));
        has_cause(fixture, &waiter.granted(), Cause::Executed, "exec");
        other.mark_consistent(lock);
        other.unlock(lock);
    }
}

fn the_end_of_a_thread_has_that_cause(fixture: &Fixture) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    for round in 0..4 {
        let thread = process.process.thread(&format!("t{round}"));
        thread.lock(lock);
        let tid = thread.must("end", &[]).get("tid");
        process.process.wait_for_end_of(tid);
        has_cause(fixture, &process.lock(lock), Cause::ThreadEnded, "the end of its thread");
        process.mark_consistent(lock);
        process.unlock(lock);
    }
}

fn the_end_of_a_thread_has_that_cause_for_a_sleeping_waiter(fixture: &Fixture) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    for round in 0..8 * scale() {
        let thread = process.process.thread(&format!("t{round}"));
        thread.lock(lock);
        let waiter = process.start_lock(lock);
        waiter.waits("the owner lives");
        thread.must("end", &[]);
        has_cause(fixture, &waiter.granted(), Cause::ThreadEnded, "the end of its thread");
        process.mark_consistent(lock);
        process.unlock(lock);
    }
}
