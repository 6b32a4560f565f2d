//! A thread that acquires a lock that it already holds.

use super::owner_death::reports_death_of;
use super::{Contenders, cases};
use crate::fixture::Fixture;
use crate::need;

cases! { "reentry";
    locking_twice_is_refused_and_changes_nothing [REENTRY];
    locking_twice_by_another_handle_is_refused [REENTRY STORE];
    a_lock_whose_guard_was_leaked_before_the_store_closed_is_held_already [REENTRY PROCESSES];
    another_thread_waits_and_is_not_refused [REENTRY];
    a_lock_can_be_taken_again_after_its_release [REENTRY];
    who_recovered_a_lock_holds_it [REENTRY PROCESSES RELEASED];
}

fn locking_twice_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    let name = lock.to_string();
    a.lock(lock);
    a.refused("AlreadyHeld", "lock", &[&name]);
    assert!(a.try_lock(lock).is_none(), "{a} got the lock {lock} a second time");
    a.refused("AlreadyHeld", "lock_owned", &[&name]);
    if need::DEADLINES.is_met(&fixture.suite) {
        a.refused("AlreadyHeld", "lock_for", &[&name, "1000000"]);
    }
    b.finds_busy(lock, "a refused second acquisition does not release it");
    a.unlock(lock);
    b.finds_free(lock, "it was acquired once and released once");
}

fn locking_twice_by_another_handle_is_refused(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a);
    a.lock(lock);
    a.must("open_own", &["open", &fixture.url()]);
    a.refused("AlreadyHeld", "lock", &[&lock.to_string()]);
    assert!(a.try_lock(lock).is_none(), "{a} got the lock {lock} a second time by another handle");
    a.unlock(lock);
    a.finds_free(lock, "it was released");
}

/// The owner closes its only handle on the store, and opens the store again.
fn a_lock_whose_guard_was_leaked_before_the_store_closed_is_held_already(fixture: &Fixture) {
    let other = fixture.peer();
    let lock = fixture.a_lock(&other);
    let owner = fixture.blank_peer();
    owner.refused("AlreadyHeld", "leak_and_reopen", &[&fixture.url(), &lock.to_string()]);
    other.finds_busy(lock, "its guard was leaked, and its owner lives");
    if need::RELEASED.is_met(&fixture.suite) {
        fixture.kill(&owner.process);
        reports_death_of(fixture, &other.lock(lock), owner.pid());
    }
}

fn another_thread_waits_and_is_not_refused(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    b.finds_busy(lock, "another thread holds it");
    let waiter = b.start_lock(lock);
    waiter.waits("another thread holds the lock");
    a.unlock(lock);
    waiter.granted();
}

fn a_lock_can_be_taken_again_after_its_release(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a);
    for _ in 0..3 {
        a.lock(lock);
        a.refused("AlreadyHeld", "lock", &[&lock.to_string()]);
        a.unlock(lock);
    }
}

fn who_recovered_a_lock_holds_it(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    owner.lock(lock);
    fixture.kill(&owner.process);
    other.lock(lock);
    other.refused("AlreadyHeld", "lock", &[&lock.to_string()]);
    fixture.peer().finds_busy(lock, "the thread that recovered it holds it");
}
