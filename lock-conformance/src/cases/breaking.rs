//! Taking a lock from its owner by force, where that is the only way.

use super::{Who, cases};
use crate::fixture::Fixture;
use crate::need;

cases! { "breaking";
    the_lock_of_the_dead_is_free_after_it_is_broken [BREAKING NUMBERED PROCESSES];
    a_waiter_gets_a_lock_that_is_broken [BREAKING NUMBERED PROCESSES];
    an_owner_whose_lock_was_broken_is_told_and_releases_nothing [BREAKING NUMBERED PROCESSES];
    breaking_a_free_lock_lets_one_in_at_a_time [BREAKING NUMBERED PROCESSES];
    breaking_is_refused_and_changes_nothing [NUMBERED PROCESSES] unless BREAKING;
}

fn the_lock_of_the_dead_is_free_after_it_is_broken(fixture: &Fixture) {
    let (owner, other, lock) = Who::Processes.two(fixture);
    owner.lock(lock);
    fixture.kill(&owner.process);
    other.finds_busy(lock, "its owner died, and nobody broke it");
    other.must("break", &[&lock.to_string()]);
    other.lock(lock);
    fixture.peer().finds_busy(lock, "it was broken and taken");
    other.unlock(lock);
    other.finds_free(lock, "it was released");
}

fn a_waiter_gets_a_lock_that_is_broken(fixture: &Fixture) {
    let (owner, other, lock) = Who::Processes.two(fixture);
    owner.lock(lock);
    fixture.kill(&owner.process);
    let waiter = other.start_lock(lock);
    waiter.waits("its owner died, and nobody broke the lock");
    fixture.peer().must("break", &[&lock.to_string()]);
    waiter.granted();
}

fn an_owner_whose_lock_was_broken_is_told_and_releases_nothing(fixture: &Fixture) {
    let (owner, other, lock) = Who::Processes.two(fixture);
    owner.lock(lock);
    other.must("break", &[&lock.to_string()]);
    other.lock(lock);
    owner.refused("Lost", "unlock", &[&lock.to_string()]);
    fixture.peer().finds_busy(lock, "only the owner before tried to release it");
    if need::HOLDERS.is_met(&fixture.suite) {
        let held = owner.must("held", &[]);
        assert_eq!(held.find(&format!("pid.{lock}")), Some(other.pid()), "the owner before struck out who has the lock now");
    }
    other.unlock(lock);
    owner.finds_free(lock, "it was released");
}

fn breaking_a_free_lock_lets_one_in_at_a_time(fixture: &Fixture) {
    let (a, b, lock) = Who::Processes.two(fixture);
    for _ in 0..2 {
        // A backend may well say that there is nothing to break.
        if let Err(refusal) = a.ask("break", &[&lock.to_string()]) {
            assert_eq!(refusal.kind, "NotHeld", "nobody holds the lock, and breaking it fails: {refusal}");
        }
    }
    a.lock(lock);
    b.finds_busy(lock, "it was broken while it was free, and then taken");
}

fn breaking_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (owner, other, lock) = Who::Processes.two(fixture);
    owner.lock(lock);
    other.refused("Unsupported", "break", &[&lock.to_string()]);
    other.finds_busy(lock, "breaking it was refused");
    owner.unlock(lock);
    other.finds_free(lock, "it was released");
}
