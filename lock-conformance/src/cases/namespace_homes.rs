//! Stores that are created in one PID namespace and used in others.
//!
//! Deaths are recovered between all of them.

use super::cases;
use super::keeping::{each_keeps_its_lock, is_recovered, reports_death_of};
use crate::fixture::Fixture;
use crate::process::{LockRef, Thread};

cases! { "namespaces";
    an_owner_in_the_creators_namespace_is_recovered_from_another [PROCESSES PID_NAMESPACES RELEASED];
    an_owner_in_another_namespace_is_recovered_from_the_creators [PROCESSES PID_NAMESPACES RELEASED];
    a_store_made_in_a_child_namespace_excludes_outside [PROCESSES PID_NAMESPACES];
    a_store_outlives_the_namespace_that_it_was_made_in [PROCESSES PID_NAMESPACES RELEASED];
    waiters_in_several_namespaces_get_the_lock_of_the_dead_in_turn [PROCESSES PID_NAMESPACES RELEASED];
}

/// Starts the creator of the store, which is outside of all new namespaces, and returns it with a lock.
fn creator(fixture: &Fixture) -> (Thread, LockRef) {
    let creator = fixture.peer();
    let lock = fixture.a_lock(&creator);
    (creator, lock)
}

fn an_owner_in_the_creators_namespace_is_recovered_from_another(fixture: &Fixture) {
    let (_creator, lock) = creator(fixture);
    for _ in 0..3 {
        let (owner, waiter) = (fixture.peer(), fixture.peer_apart());
        owner.lock(lock);
        is_recovered(fixture, &owner, &waiter, lock);
    }
}

fn an_owner_in_another_namespace_is_recovered_from_the_creators(fixture: &Fixture) {
    let (creator, lock) = creator(fixture);
    for waiter in [&creator, &fixture.peer()] {
        let owner = fixture.peer_apart();
        owner.lock(lock);
        is_recovered(fixture, &owner, waiter, lock);
    }
}

fn a_store_made_in_a_child_namespace_excludes_outside(fixture: &Fixture) {
    let creator = fixture.peer_apart();
    let lock = fixture.a_lock(&creator);
    creator.lock(lock);
    each_keeps_its_lock(fixture, &creator, &fixture.peer(), lock);
}

fn a_store_outlives_the_namespace_that_it_was_made_in(fixture: &Fixture) {
    let (creator, outside) = (fixture.peer_apart(), fixture.peer());
    let lock = fixture.a_lock(&creator);
    creator.lock(lock);
    is_recovered(fixture, &creator, &outside, lock);
    // The creator was the first process of its namespace, so its death ended the namespace.
    outside.lock(lock);
    let apart = fixture.peer_apart();
    is_recovered(fixture, &outside, &apart, lock);
    apart.lock(lock);
    is_recovered(fixture, &apart, &fixture.peer(), lock);
}

fn waiters_in_several_namespaces_get_the_lock_of_the_dead_in_turn(fixture: &Fixture) {
    let (creator, lock) = creator(fixture);
    let mut owner = fixture.peer_apart();
    let nested = fixture.fork_apart(&fixture.fork_apart(&fixture.blank_peer()));
    nested.must("open", &["open", &fixture.url()]);
    let waiters = [fixture.peer_apart(), nested, fixture.peer_apart(), creator];
    owner.lock(lock);
    let mut waiting: Vec<_> = waiters.into_iter().map(|waiter| (waiter.start_lock(lock), waiter)).collect();
    waiting.iter().for_each(|(pending, _)| pending.waits("the owner lives"));
    while !waiting.is_empty() {
        fixture.kill(&owner.process);
        let mut first = None;
        fixture.wait_until("a waiter acquires the lock of the dead process", || {
            first = waiting.iter().position(|(pending, _)| pending.has_answered());
            first.is_some()
        });
        let (pending, next) = waiting.swap_remove(first.expect("a waiter has answered"));
        reports_death_of(fixture, &pending.granted(), owner.process.own_pid());
        waiting.iter().for_each(|(pending, _)| assert!(!pending.has_answered(), "two waiters acquired the lock"));
        owner = next;
    }
    owner.unlock(lock);
    owner.finds_free(lock, "it was released");
}
