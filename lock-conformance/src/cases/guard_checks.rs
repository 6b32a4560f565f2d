//! Checking that a guard still holds its lock.

use super::{Contenders, cases};
use crate::fixture::Fixture;
use crate::process::LockRef;

cases! { "guard_checks";
    a_held_lock_is_confirmed [GUARD_CHECKS];
    a_lock_of_the_process_is_confirmed_in_each_thread [GUARD_CHECKS SEND];
    a_broken_lock_is_lost [GUARD_CHECKS BREAKING NUMBERED PROCESSES];
    a_check_is_refused_and_the_lock_stays_held [] unless GUARD_CHECKS;
}

/// Number of repetitions, each of which has to succeed.
const ROUNDS: u32 = 55;

fn a_held_lock_is_confirmed(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Threads.start_two(fixture);
    let name = lock.to_string();
    for _ in 0..ROUNDS {
        owner.lock(lock);
        owner.must("check_guard", &[&name]);
        other.finds_busy(lock, "its owner checked it and holds it");
        owner.must("check_guard", &[&name]);
        owner.unlock(lock);
        other.finds_free(lock, "it was released");
    }
}

fn a_lock_of_the_process_is_confirmed_in_each_thread(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Threads.start_two(fixture);
    let name = lock.to_string();
    for _ in 0..ROUNDS {
        owner.must("lock_send", &[&name]);
        owner.must("check_send", &[&name]);
        other.must("check_send", &[&name]);
        other.must("unlock_send", &[&name]);
    }
}

fn a_broken_lock_is_lost(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    let name = lock.to_string();
    for _ in 0..ROUNDS {
        owner.lock(lock);
        owner.must("check_guard", &[&name]);
        other.must("break", &[&name]);
        owner.refused("Lost", "check_guard", &[&name]);
        other.lock(lock);
        owner.refused("Lost", "check_guard", &[&name]);
        other.must("check_guard", &[&name]);
        owner.refused("Lost", "unlock", &[&name]);
        other.unlock(lock);
    }
}

fn a_check_is_refused_and_the_lock_stays_held(fixture: &Fixture) {
    let (owner, other, lock): (_, _, LockRef) = Contenders::Threads.start_two(fixture);
    owner.lock(lock);
    owner.refused("Unsupported", "check_guard", &[&lock.to_string()]);
    other.finds_busy(lock, "only the check was refused");
    owner.unlock(lock);
}
