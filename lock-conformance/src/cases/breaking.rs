//! Breaking a lock: releasing it by force, in backends that do not release the locks of dead owners.

use super::{Contenders, cases};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::Pending;

cases! { "breaking";
    the_lock_of_the_dead_is_free_after_it_is_broken [BREAKING NUMBERED PROCESSES];
    a_waiter_gets_a_lock_that_is_broken [BREAKING NUMBERED PROCESSES];
    an_owner_whose_lock_was_broken_is_told_and_releases_nothing [BREAKING NUMBERED PROCESSES];
    breaking_a_free_lock_lets_one_in_at_a_time [BREAKING NUMBERED PROCESSES];
    a_living_owner_whose_lock_is_broken_is_not_reported_dead [BREAKING NUMBERED PROCESSES];
    concurrent_breaks_of_one_lock_admit_one_owner [BREAKING NUMBERED PROCESSES];
    breaking_is_refused_and_changes_nothing [NUMBERED PROCESSES] unless BREAKING;
}

/// Number of concurrent breaks by two processes.
const ROUNDS: u32 = 250;
/// Number of breaks by each of two processes, one after the other.
const BREAKS: u32 = 55;

fn the_lock_of_the_dead_is_free_after_it_is_broken(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    owner.lock(lock);
    fixture.kill(&owner.process);
    other.finds_busy(lock, "its owner died, and no process has broken it");
    other.must("break", &[&lock.to_string()]);
    other.lock(lock);
    fixture.peer().finds_busy(lock, "it was broken and acquired again");
    other.unlock(lock);
    other.finds_free(lock, "it was released");
}

fn a_waiter_gets_a_lock_that_is_broken(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    owner.lock(lock);
    fixture.kill(&owner.process);
    let waiter = other.start_lock(lock);
    waiter.waits("its owner died, and no process has broken the lock");
    fixture.peer().must("break", &[&lock.to_string()]);
    waiter.granted();
}

fn an_owner_whose_lock_was_broken_is_told_and_releases_nothing(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    owner.lock(lock);
    other.must("break", &[&lock.to_string()]);
    other.lock(lock);
    owner.refused("Lost", "unlock", &[&lock.to_string()]);
    fixture.peer().finds_busy(lock, "only its previous owner tried to release it");
    if need::HOLDERS.is_met(&fixture.suite) {
        let held = owner.must("held", &[]);
        assert_eq!(
            held.find(&format!("pid.{lock}")),
            Some(other.pid()),
            "the previous owner erased the record of the current one"
        );
    }
    other.unlock(lock);
    owner.finds_free(lock, "it was released");
}

fn breaking_a_free_lock_lets_one_in_at_a_time(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Processes.start_two(fixture);
    for _ in 0..2 {
        // A backend may report that the lock is free.
        if let Err(refusal) = a.ask("break", &[&lock.to_string()]) {
            assert_eq!(refusal.kind, "NotHeld", "breaking a free lock fails with an unexpected error: {refusal}");
        }
    }
    a.lock(lock);
    b.finds_busy(lock, "it was acquired after a break of the free lock");
}

fn a_living_owner_whose_lock_is_broken_is_not_reported_dead(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    let (third, name) = (fixture.peer(), lock.to_string());
    let told = "the lock of a live owner was broken, but a death is reported";
    for _ in 0..BREAKS {
        owner.lock(lock);
        other.must("break", &[&name]);
        assert!(other.lock(lock).death.is_none(), "{told}");
        owner.refused("Lost", "unlock", &[&name]);
        let waiter = third.start_lock(lock);
        waiter.waits("the lock is held");
        owner.must("break", &[&name]);
        assert!(waiter.granted().death.is_none(), "{told} to a waiter");
        other.refused("Lost", "unlock", &[&name]);
        third.unlock(lock);
        assert!(owner.process.thread("t1").finds_free(lock, "it was released").death.is_none(), "{told} afterwards");
    }
}

fn concurrent_breaks_of_one_lock_admit_one_owner(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Processes.start_two(fixture);
    let owner = fixture.peer();
    for _ in 0..ROUNDS * scale() {
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        owner.lock(lock);
        let breaking = [&a, &b].map(|thread| thread.start("race_to_break", &[path, &lock.to_string()]));
        breaking.iter().for_each(|breaker| _ = breaker.begun());
        arena.go();
        let outcomes = breaking.map(Pending::outcome);
        assert!(outcomes.iter().any(Result::is_ok), "two processes broke a held lock, but neither succeeded: {outcomes:?}");
        for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(
                refusal.kind, "NotHeld",
                "another process broke the lock first, but the error has the wrong kind: {refusal}"
            );
        }
        a.lock(lock);
        b.finds_busy(lock, "two processes broke it, and one acquired it afterwards");
        a.unlock(lock);
        assert!(b.finds_free(lock, "it was released").death.is_none(), "a death was reported, although no process died");
        owner.refused("Lost", "unlock", &[&lock.to_string()]);
    }
}

fn breaking_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    owner.lock(lock);
    other.refused("Unsupported", "break", &[&lock.to_string()]);
    other.finds_busy(lock, "breaking it was refused");
    owner.unlock(lock);
    other.finds_free(lock, "it was released");
}
