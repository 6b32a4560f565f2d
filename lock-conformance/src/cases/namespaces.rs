//! Processes in pid namespaces of their own, where a pid says nothing to others: two of them have the pid 1.

use std::time::Duration;

use super::cases;
use crate::fixture::Fixture;
use crate::need;

cases! { "namespaces";
    two_with_one_pid_exclude_each_other [PROCESSES PID_NAMESPACES];
    two_with_one_pid_wait_for_each_other [PROCESSES PID_NAMESPACES];
    a_death_in_another_namespace_frees_the_lock [PROCESSES PID_NAMESPACES RELEASED];
    an_owner_whose_pid_is_nobody_here_is_not_dead [PROCESSES PID_NAMESPACES DEADLINES];
    two_with_one_pid_allocate_for_themselves [PROCESSES PID_NAMESPACES NUMBERED];
}

/// Long enough for a waiter that begins to look for proof of a death.
const A_WHILE: Duration = Duration::from_millis(500);

fn two_with_one_pid_exclude_each_other(fixture: &Fixture) {
    let (a, b) = (fixture.peer_apart(), fixture.peer_apart());
    assert_eq!((a.process.own_pid(), b.process.own_pid()), (1, 1), "each is the first of its namespace");
    let lock = fixture.a_lock(&a);
    a.lock(lock);
    b.finds_busy(lock, "somebody of the same pid holds it, and not this process");
    fixture.peer().finds_busy(lock, "somebody in another namespace holds it");
    a.unlock(lock);
    assert!(b.finds_free(lock, "it was released").death.is_none(), "nobody died, and a death was told");
}

fn two_with_one_pid_wait_for_each_other(fixture: &Fixture) {
    let (a, b) = (fixture.peer_apart(), fixture.peer_apart());
    let lock = fixture.a_lock(&a);
    for (owner, other) in [(&a, &b), (&b, &a)] {
        owner.lock(lock);
        let waiter = other.start_lock(lock);
        waiter.waits("somebody of the same pid holds the lock, and not this process");
        owner.unlock(lock);
        waiter.granted();
        owner.finds_busy(lock, "the waiter has it");
        other.unlock(lock);
    }
}

fn a_death_in_another_namespace_frees_the_lock(fixture: &Fixture) {
    let (owner, other, outside) = (fixture.peer_apart(), fixture.peer_apart(), fixture.peer());
    let lock = fixture.a_lock(&outside);
    for watcher in [&other, &outside] {
        let owner = if watcher.pid() == other.pid() { owner.clone() } else { fixture.peer_apart() };
        owner.lock(lock);
        let waiter = watcher.start_lock(lock);
        waiter.waits("the owner lives");
        fixture.kill(&owner.process);
        let grant = waiter.granted();
        if need::REPORTED.is_met(&fixture.suite) {
            let told = grant.death.expect("an owner in another namespace died, and the next one was not told");
            assert_eq!(told.pid, 1, "the dead knew itself by another pid");
        }
        watcher.unlock(lock);
    }
}

/// Where a missing `/proc/PID` is taken for a death, the lock is taken from an owner that lives.
fn an_owner_whose_pid_is_nobody_here_is_not_dead(fixture: &Fixture) {
    let (outside, apart) = (fixture.peer(), fixture.peer_apart());
    let lock = fixture.a_lock(&outside);
    for (owner, other) in [(&outside, &apart), (&apart, &outside)] {
        owner.lock(lock);
        match other.lock_for(lock, A_WHILE) {
            Ok(_) => panic!("{other} got the lock {lock} of an owner that lives in another pid namespace"),
            Err(refusal) => assert_eq!(refusal.kind, "TimedOut", "a wait ended in another way: {refusal}"),
        }
        owner.unlock(lock);
    }
}

fn two_with_one_pid_allocate_for_themselves(fixture: &Fixture) {
    let (a, b) = (fixture.peer_apart(), fixture.peer_apart());
    let (of_a, of_b) = (a.allocate(""), b.allocate(""));
    assert_ne!(of_a, of_b, "two processes of one pid got one id");
    fixture.kill(&a.process);
    assert!(b.allocated().contains(&of_a), "an id was lost with the process that allocated it");
}
