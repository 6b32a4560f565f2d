//! Processes in different PID namespaces, in which the same pid names different processes.

use super::cases;
use super::keeping::{LONGER_THAN_A_CHECK, reports_death_of};
use crate::fixture::Fixture;
use crate::need;
use crate::process::Thread;

cases! { "namespaces";
    two_with_one_pid_exclude_each_other [PROCESSES PID_NAMESPACES];
    two_with_one_pid_wait_for_each_other [PROCESSES PID_NAMESPACES];
    a_death_in_another_namespace_frees_the_lock [PROCESSES PID_NAMESPACES RELEASED];
    an_owner_whose_pid_is_nobody_here_is_not_dead [PROCESSES PID_NAMESPACES DEADLINES];
    two_with_one_pid_allocate_for_themselves [PROCESSES PID_NAMESPACES NUMBERED];
    the_dead_are_named_although_others_of_their_pid_came_and_went [PROCESSES PID_NAMESPACES REPORTED];
    a_process_with_the_pid_of_a_dead_owner_is_not_taken_for_it [PROCESSES CHOSEN_PIDS RELEASED];
    the_death_of_a_process_is_not_that_of_a_later_one_with_its_pid [PROCESSES CHOSEN_PIDS DEADLINES];
    a_process_in_a_user_namespace_excludes_and_is_excluded [PROCESSES USER_NAMESPACES];
    a_death_in_a_user_namespace_frees_the_lock [PROCESSES USER_NAMESPACES RELEASED];
    a_death_outside_frees_the_lock_for_a_user_namespace [PROCESSES USER_NAMESPACES RELEASED];
}

fn two_with_one_pid_exclude_each_other(fixture: &Fixture) {
    let (a, b) = (fixture.peer_apart(), fixture.peer_apart());
    assert_eq!((a.process.own_pid(), b.process.own_pid()), (1, 1), "each process is the first one of its namespace");
    let lock = fixture.a_lock(&a);
    a.lock(lock);
    b.finds_busy(lock, "another process with the same pid holds it");
    fixture.peer().finds_busy(lock, "a process in another namespace holds it");
    a.unlock(lock);
    assert!(b.finds_free(lock, "it was released").death.is_none(), "no owner died, but a death was reported");
}

fn two_with_one_pid_wait_for_each_other(fixture: &Fixture) {
    let (a, b) = (fixture.peer_apart(), fixture.peer_apart());
    let lock = fixture.a_lock(&a);
    for (owner, other) in [(&a, &b), (&b, &a)] {
        owner.lock(lock);
        let waiter = other.start_lock(lock);
        waiter.waits("another process with the same pid holds the lock");
        owner.unlock(lock);
        waiter.granted();
        owner.finds_busy(lock, "the waiter owns it");
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
            let told = grant.death.expect("an owner in another namespace died, but the next owner received no report");
            assert_eq!(told.pid, 1, "the report does not have the pid of the dead owner in its namespace");
        }
        watcher.unlock(lock);
    }
}

/// A missing `/proc/PID` does not prove a death: the process may live in another namespace.
fn an_owner_whose_pid_is_nobody_here_is_not_dead(fixture: &Fixture) {
    let (outside, apart) = (fixture.peer(), fixture.peer_apart());
    let lock = fixture.a_lock(&outside);
    for (owner, other) in [(&outside, &apart), (&apart, &outside)] {
        owner.lock(lock);
        match other.lock_for(lock, LONGER_THAN_A_CHECK) {
            Ok(_) => panic!("{other} acquired the lock {lock} of a live owner in another PID namespace"),
            Err(refusal) => assert_eq!(refusal.kind, "TimedOut", "a wait ended with an unexpected error: {refusal}"),
        }
        owner.unlock(lock);
    }
}

fn two_with_one_pid_allocate_for_themselves(fixture: &Fixture) {
    let (a, b) = (fixture.peer_apart(), fixture.peer_apart());
    let (of_a, of_b) = (a.allocate(""), b.allocate(""));
    assert_ne!(of_a, of_b, "two processes with the same pid allocated the same id");
    fixture.kill(&a.process);
    assert!(b.allocated().contains(&of_a), "an id was lost with the process that allocated it");
}

/// A backend that stores facts about processes by pid overwrites those of the dead owner.
fn the_dead_are_named_although_others_of_their_pid_came_and_went(fixture: &Fixture) {
    let (outside, owner) = (fixture.peer(), fixture.peer_apart());
    let lock = fixture.a_lock(&outside);
    owner.lock(lock);
    fixture.kill(&owner.process);
    for _ in 0..6 {
        let short_lived = fixture.peer_apart();
        assert_eq!(short_lived.process.own_pid(), 1, "each process is the first one of its namespace");
        fixture.kill(&short_lived.process);
    }
    reports_death_of(fixture, &outside.lock(lock), 1);
}

/// A pid that is far from the first ones of a new namespace.
const REUSED: u32 = 777;

fn a_process_with_the_pid_of_a_dead_owner_is_not_taken_for_it(fixture: &Fixture) {
    let (outside, first) = (fixture.peer(), fixture.peer_apart());
    let lock = fixture.a_lock(&outside);
    let takers: [fn(&Thread, &Thread, &Thread) -> Thread; 3] =
        [|same_pid, _, _| same_pid.clone(), |_, first, _| first.clone(), |_, _, outside| outside.clone()];
    for taker in takers {
        let owner = fixture.fork_with_pid(&first, REUSED);
        owner.lock(lock);
        fixture.kill(&owner.process);
        let same_pid = fixture.fork_with_pid(&first, REUSED);
        let taker = taker(&same_pid, &first, &outside);
        // The owner is dead, although a process with its pid lives.
        reports_death_of(fixture, &taker.lock(lock), REUSED);
        for other in [&same_pid, &first, &outside].into_iter().filter(|other| other.pid() != taker.pid()) {
            other.finds_busy(lock, "another thread took it over after its owner's death");
        }
        taker.mark_consistent(lock);
        taker.unlock(lock);
        assert!(same_pid.finds_free(lock, "it was released").death.is_none(), "a death was reported twice");
        fixture.kill(&same_pid.process);
    }
}

fn the_death_of_a_process_is_not_that_of_a_later_one_with_its_pid(fixture: &Fixture) {
    let (outside, first) = (fixture.peer(), fixture.peer_apart());
    let lock = fixture.a_lock(&outside);
    let dead = fixture.fork_with_pid(&first, REUSED);
    dead.lock(lock);
    dead.unlock(lock);
    fixture.kill(&dead.process);
    let owner = fixture.fork_with_pid(&first, REUSED);
    owner.lock(lock);
    for other in [&first, &outside] {
        match other.lock_for(lock, LONGER_THAN_A_CHECK) {
            Ok(_) => panic!("{other} acquired the lock {lock} of a live owner that has the pid of a dead process"),
            Err(refusal) => assert_eq!(refusal.kind, "TimedOut", "a wait ended with an unexpected error: {refusal}"),
        }
    }
    owner.unlock(lock);
    assert!(
        outside.finds_free(lock, "it was released").death.is_none(),
        "the process that died held no lock, but its death was reported"
    );
}

fn a_process_in_a_user_namespace_excludes_and_is_excluded(fixture: &Fixture) {
    let (outside, inside) = (fixture.peer(), fixture.peer_in_user_namespace());
    let lock = fixture.a_lock(&outside);
    for (owner, other) in [(&outside, &inside), (&inside, &outside)] {
        owner.lock(lock);
        other.finds_busy(lock, "a process in another user namespace holds it");
        let waiter = other.start_lock(lock);
        waiter.waits("a process in another user namespace holds it");
        owner.unlock(lock);
        assert!(waiter.granted().death.is_none(), "no owner died, but a death was reported");
        owner.finds_busy(lock, "the waiter owns it");
        other.unlock(lock);
    }
}

fn a_death_in_a_user_namespace_frees_the_lock(fixture: &Fixture) {
    let (outside, owner) = (fixture.peer(), fixture.peer_in_user_namespace());
    let lock = fixture.a_lock(&outside);
    owner.lock(lock);
    let waiter = outside.start_lock(lock);
    waiter.waits("the owner lives");
    fixture.kill(&owner.process);
    reports_death_of(fixture, &waiter.granted(), 1);
}

fn a_death_outside_frees_the_lock_for_a_user_namespace(fixture: &Fixture) {
    let (owner, inside) = (fixture.peer(), fixture.peer_in_user_namespace());
    let lock = fixture.a_lock(&owner);
    owner.lock(lock);
    let waiter = inside.start_lock(lock);
    waiter.waits("the owner lives");
    fixture.kill(&owner.process);
    reports_death_of(fixture, &waiter.granted(), owner.pid());
}
