//! Reports of a death, which all later owners receive until one of them marks the lock consistent.

use super::owner_death::reports_death_of;
use super::{cases, death_is_noticed};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{Dead, LockRef, Pending, Thread};

cases! { "death_reports";
    each_owner_gets_the_report_until_one_marks_the_lock_consistent [PROCESSES REPORTED LASTING_REPORTS];
    every_way_to_acquire_reports_a_death [PROCESSES REPORTED LASTING_REPORTS];
    lock_all_reports_each_death [PROCESSES REPORTED LASTING_REPORTS NUMBERED];
    a_lock_all_that_times_out_keeps_the_report [PROCESSES REPORTED LASTING_REPORTS NUMBERED];
    an_owner_that_dies_before_it_marks_is_reported_next [PROCESSES REPORTED LASTING_REPORTS];
    an_owner_that_dies_after_it_marked_is_reported [PROCESSES REPORTED LASTING_REPORTS];
    marking_without_a_report_changes_nothing [PROCESSES REPORTED LASTING_REPORTS];
    a_child_cannot_mark_the_lock_of_its_parent [PROCESSES REPORTED LASTING_REPORTS];
    freeing_and_allocating_again_keeps_the_report [PROCESSES REPORTED LASTING_REPORTS NUMBERED];
    a_report_outlives_all_processes_that_have_the_store_open [PROCESSES REPORTED LASTING_REPORTS LASTING];
    sleeping_waiters_each_get_the_report_and_none_is_lost [PROCESSES REPORTED LASTING_REPORTS];
    a_sleeping_waiter_gets_no_report_after_the_owner_marked [PROCESSES REPORTED LASTING_REPORTS];
}

/// Starts an owner of the lock and kills it. Returns its pid.
fn kill_an_owner(fixture: &Fixture, lock: LockRef) -> u32 {
    let owner = fixture.peer();
    owner.lock(lock);
    fixture.kill(&owner.process);
    owner.pid()
}

/// Acquires the lock, asserts that the guard reports the death of this process, and keeps the lock.
fn recover(thread: &Thread, lock: LockRef, dead: u32) -> Dead {
    let grant = thread.lock(lock);
    let told = grant
        .death
        .unwrap_or_else(|| panic!("{thread} received no report of the death of process {dead}, although no owner marked {lock}"));
    assert_eq!(told.pid, dead, "process {dead} died, but {thread} received a report of another death");
    told
}

/// Like [`recover`], but releases the lock without marking it.
fn gets_report(thread: &Thread, lock: LockRef, dead: u32) -> Dead {
    let told = recover(thread, lock, dead);
    thread.unlock(lock);
    told
}

/// Acquires the lock, asserts that the guard reports nothing, and releases it.
pub(super) fn gets_no_report(thread: &Thread, lock: LockRef, why: &str) {
    let grant = thread.lock(lock);
    assert!(grant.death.is_none(), "{thread} received the report {:?}, although {why}", grant.death);
    thread.unlock(lock);
}

const MARKED: &str = "an owner marked the lock consistent";

fn each_owner_gets_the_report_until_one_marks_the_lock_consistent(fixture: &Fixture) {
    let (first, second, third) = (fixture.peer(), fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&first);
    let dead = kill_an_owner(fixture, lock);
    let told = gets_report(&first, lock, dead);
    for other in [&second, &third, &first, &second] {
        assert_eq!(gets_report(other, lock, dead), told, "a later report differs from the first one");
    }
    recover(&third, lock, dead);
    third.mark_consistent(lock);
    third.unlock(lock);
    for other in [&first, &second, &third, &first] {
        gets_no_report(other, lock, MARKED);
    }
}

fn every_way_to_acquire_reports_a_death(fixture: &Fixture) {
    let (first, second) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&first);
    let name = lock.to_string();
    let mut ways = vec!["lock", "try_lock", "lock_owned", "try_lock_owned"];
    if need::DEADLINES.is_met(&fixture.suite) {
        ways.extend(["lock_for", "lock_until"]);
    }
    for way in ways {
        let arguments = [name.as_str(), "10000000000"];
        let arguments = if way.ends_with("for") || way.ends_with("until") { &arguments[..] } else { &arguments[..1] };
        let dead = kill_an_owner(fixture, lock);
        death_is_noticed(fixture, &first, lock);
        for thread in [&first, &second] {
            let told = thread.start(way, arguments).granted().death.map(|death| death.pid);
            assert_eq!(told, Some(dead), "process {dead} died, but {way} does not report it");
            thread.unlock(lock);
        }
        // Borrowed and owned guards can mark the lock.
        first.start(way, arguments).granted();
        first.mark_consistent(lock);
        first.must("release", &[&name]);
        gets_no_report(&second, lock, MARKED);
    }
}

/// Four locks, and the process that died with every other one.
fn some_reported(fixture: &Fixture, thread: &Thread) -> Vec<(LockRef, Option<u32>)> {
    let locks: Vec<_> = (0..4).map(|_| fixture.a_lock(thread)).collect();
    let dead = |(n, lock): (usize, &LockRef)| (*lock, (n % 2 == 1).then(|| kill_an_owner(fixture, *lock)));
    locks.iter().enumerate().map(dead).collect()
}

fn lock_all_reports_each_death(fixture: &Fixture) {
    let (first, second) = (fixture.peer(), fixture.peer());
    let locks = some_reported(fixture, &first);
    let names: Vec<_> = locks.iter().map(|(lock, _)| lock.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut expected: Vec<_> = locks.iter().map(|(_, dead)| *dead).collect();
    for (verb, thread) in [("lock_all", &first), ("try_lock_all", &second), ("lock_all", &second)] {
        let fields = thread.must(verb, &names);
        let told: Vec<Option<u32>> = names.iter().map(|name| fields.find(&format!("dead_pid.{name}"))).collect();
        assert_eq!(told, expected, "{thread} acquired {names:?} by {verb}, but the reports are wrong");
        if thread.pid() == second.pid() {
            thread.mark_consistent(locks[1].0);
            expected[1] = None;
        }
        locks.iter().for_each(|(lock, _)| thread.unlock(*lock));
    }
}

fn a_lock_all_that_times_out_keeps_the_report(fixture: &Fixture) {
    let (first, second) = (fixture.peer(), fixture.peer());
    let (reported, busy) = (fixture.a_lock(&first), fixture.a_lock(&first));
    let dead = kill_an_owner(fixture, reported);
    second.lock(busy);
    first.refused("TimedOut", "try_lock_all", &[&reported.to_string(), &busy.to_string()]);
    gets_report(&first, reported, dead);
    gets_report(&fixture.peer(), reported, dead);
}

fn an_owner_that_dies_before_it_marks_is_reported_next(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    let first = kill_an_owner(fixture, lock);
    recover(&owner, lock, first);
    fixture.kill(&owner.process);
    gets_report(&other, lock, owner.pid());
    gets_report(&fixture.peer(), lock, owner.pid());
    gets_report(&other, lock, owner.pid());
}

fn an_owner_that_dies_after_it_marked_is_reported(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    let first = kill_an_owner(fixture, lock);
    recover(&owner, lock, first);
    owner.mark_consistent(lock);
    fixture.kill(&owner.process);
    gets_report(&other, lock, owner.pid());
    gets_report(&fixture.peer(), lock, owner.pid());
}

fn marking_without_a_report_changes_nothing(fixture: &Fixture) {
    let (first, second) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&first);
    for _ in 0..2 {
        for thread in [&first, &second, &first, &second] {
            assert!(thread.lock(lock).death.is_none(), "{thread} received a report, although {MARKED}");
            thread.mark_consistent(lock);
            thread.unlock(lock);
        }
        let owner = fixture.peer();
        owner.lock(lock);
        owner.mark_consistent(lock);
        fixture.kill(&owner.process);
        recover(&first, lock, owner.pid());
        // The second call has no effect.
        first.mark_consistent(lock);
        first.mark_consistent(lock);
        first.unlock(lock);
    }
}

fn a_child_cannot_mark_the_lock_of_its_parent(fixture: &Fixture) {
    let (parent, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    let name = lock.to_string();
    let dead = kill_an_owner(fixture, lock);
    recover(&parent, lock, dead);
    let child = fixture.fork(&parent);
    child.refused("NotHeld", "mark_consistent", &[&name]);
    child.must("release", &[&name]);
    other.finds_busy(lock, "only a child of its owner tried to mark it");
    parent.unlock(lock);
    gets_report(&other, lock, dead);
    recover(&child, lock, dead);
    child.mark_consistent(lock);
    child.unlock(lock);
    gets_no_report(&other, lock, MARKED);
}

fn freeing_and_allocating_again_keeps_the_report(fixture: &Fixture) {
    let (first, second) = (fixture.peer(), fixture.peer());
    let locks = some_reported(fixture, &first);
    for (lock, _) in &locks {
        let LockRef::Number(id) = lock else { unreachable!("the locks have numbers") };
        second.free(*id);
        first.must("take", &[&id.to_string(), ""]);
    }
    for (lock, dead) in locks {
        match dead {
            Some(dead) => drop([&first, &second].map(|thread| gets_report(thread, lock, dead))),
            None => gets_no_report(&first, lock, "no owner of it died"),
        }
    }
}

fn a_report_outlives_all_processes_that_have_the_store_open(fixture: &Fixture) {
    let first = fixture.peer();
    let lock = fixture.a_lock(&first);
    let dead = kill_an_owner(fixture, lock);
    gets_report(&first, lock, dead);
    fixture.kill(&first.process);
    let second = fixture.peer();
    gets_report(&second, lock, dead);
    let _never = second.start("exit", &[]);
    fixture.reap(&second.process);
    let third = fixture.peer();
    recover(&third, lock, dead);
    third.mark_consistent(lock);
    third.unlock(lock);
    fixture.kill(&third.process);
    gets_no_report(&fixture.peer(), lock, MARKED);
}

/// Starts waiters in several processes, and waits until they sleep.
fn sleeping_waiters(fixture: &Fixture, lock: LockRef) -> Vec<(Thread, Pending)> {
    let ways = if need::DEADLINES.is_met(&fixture.suite) { ["lock", "lock_for", "lock"] } else { ["lock"; 3] };
    let start = |way: &str| {
        let (thread, name) = (fixture.peer(), lock.to_string());
        let waiter = thread.start(way, &[&[name.as_str()][..], if way == "lock_for" { &["60000000000"] } else { &[] }].concat());
        waiter.waits("the owner lives");
        (thread, waiter)
    };
    ways.map(start).into()
}

fn sleeping_waiters_each_get_the_report_and_none_is_lost(fixture: &Fixture) {
    let owner = fixture.peer();
    let lock = fixture.a_lock(&owner);
    let dead = kill_an_owner(fixture, lock);
    for _ in 0..crate::fixture::scale() {
        recover(&owner, lock, dead);
        let mut waiters = sleeping_waiters(fixture, lock);
        owner.unlock(lock);
        while !waiters.is_empty() {
            fixture.wait_until("a waiter acquires the lock", || waiters.iter().any(|(_, waiter)| waiter.has_answered()));
            let next = waiters.iter().position(|(_, waiter)| waiter.has_answered()).expect("a waiter has answered");
            let (thread, waiter) = waiters.swap_remove(next);
            let told = waiter.granted().death.map(|death| death.pid);
            assert_eq!(told, Some(dead), "{thread} slept while an owner released the lock without marking it");
            thread.unlock(lock);
        }
    }
    gets_report(&owner, lock, dead);
}

fn a_sleeping_waiter_gets_no_report_after_the_owner_marked(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    let dead = kill_an_owner(fixture, lock);
    recover(&owner, lock, dead);
    for thread in [owner.process.thread("t1"), other] {
        let waiter = thread.start_lock(lock);
        waiter.waits("the owner lives");
        owner.mark_consistent(lock);
        owner.unlock(lock);
        let told = waiter.granted().death;
        assert!(told.is_none(), "{thread} received the report {told:?}, although {MARKED} while it slept");
        thread.unlock(lock);
        let dead = kill_an_owner(fixture, lock);
        reports_death_of(fixture, &owner.lock(lock), dead);
    }
}
