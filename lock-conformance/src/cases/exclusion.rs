//! Mutual exclusion between all threads of all processes.

use super::{Contenders, cases_for_all, cases_for_mixed, nothing_went_wrong_in, start_sections};
use crate::fixture::{Fixture, scale};
use crate::process::LockRef;

cases_for_all! { "exclusion";
    a_held_lock_is_busy [];
    a_released_lock_is_free [];
    a_dropped_guard_releases [];
    an_owned_guard_excludes_and_releases_without_its_handle [];
    a_contended_lock_waits_until_it_is_released [];
    each_of_several_waiters_gets_its_turn [];
    other_locks_are_not_concerned [NUMBERED];
    two_locks_nest [NUMBERED];
    lock_all_in_opposite_orders_does_not_deadlock [NUMBERED];
    lock_all_takes_all_or_none [NUMBERED];
    critical_sections_do_not_overlap [];
    six_make_two_hundred_slow_increments_each [];
}

cases_for_mixed! { "exclusion";
    each_of_several_waiters_gets_its_turn [];
    critical_sections_do_not_overlap [];
    six_make_two_hundred_slow_increments_each [];
}

fn a_held_lock_is_busy(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.lock(lock);
    b.finds_busy(lock, "another thread holds it");
    b.finds_busy(lock, "a failed attempt does not release it");
    a.unlock(lock);
    assert!(b.try_lock(lock).is_some(), "no thread holds the lock, but it is busy");
    a.finds_busy(lock, "its previous owner has no privilege");
}

fn a_released_lock_is_free(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    for round in 0..3 {
        a.lock(lock);
        a.unlock(lock);
        let grant = b.finds_free(lock, "it was released");
        assert!(grant.death.is_none(), "round {round}: no owner died, but a death was reported");
    }
}

fn a_dropped_guard_releases(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.lock(lock);
    a.must("release", &[&lock.to_string()]);
    b.finds_free(lock, "its guard was dropped");
}

fn an_owned_guard_excludes_and_releases_without_its_handle(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.must("lock_owned", &[&lock.to_string()]);
    b.finds_busy(lock, "an owned guard holds it");
    let refused = b.must("try_lock_owned", &[&lock.to_string()]);
    assert!(refused.has("busy"), "a second owned guard was granted");
    a.must("release", &[&lock.to_string()]);
    b.finds_free(lock, "its owned guard was dropped");
}

fn a_contended_lock_waits_until_it_is_released(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.lock(lock);
    let waiter = b.start_lock(lock);
    waiter.waits("another thread holds the lock");
    a.unlock(lock);
    assert!(waiter.granted().death.is_none(), "no owner died, but a death was reported");
    a.finds_busy(lock, "the waiter owns it");
}

fn each_of_several_waiters_gets_its_turn(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 4);
    let lock = fixture.a_lock(&threads[0]);
    threads[0].lock(lock);
    let mut waiting: Vec<_> = threads[1..].iter().map(|thread| (thread.clone(), thread.start_lock(lock))).collect();
    waiting.iter().for_each(|(_, waiter)| waiter.waits("another thread holds the lock"));
    let mut owner = threads[0].clone();
    while !waiting.is_empty() {
        owner.unlock(lock);
        fixture.wait_until("one of the waiters acquires the released lock", || waiting.iter().any(|(_, w)| w.has_answered()));
        let at = waiting.iter().position(|(_, waiter)| waiter.has_answered()).expect("a waiter has answered");
        let (thread, waiter) = waiting.swap_remove(at);
        waiter.granted();
        waiting.iter().for_each(|(_, waiter)| waiter.waits("another waiter acquired the lock"));
        owner = thread;
    }
}

fn other_locks_are_not_concerned(fixture: &Fixture, contenders: Contenders) {
    let (a, b, first) = contenders.start_two(fixture);
    let second = LockRef::Number(a.allocate(""));
    a.lock(first);
    b.finds_free(second, "a thread holds another lock only");
    b.lock(second);
    a.finds_busy(second, "another thread holds it");
    b.finds_busy(first, "another thread holds it");
}

fn two_locks_nest(fixture: &Fixture, contenders: Contenders) {
    let (a, b, outer) = contenders.start_two(fixture);
    let inner = LockRef::Number(a.allocate(""));
    a.lock(outer);
    a.lock(inner);
    b.finds_busy(outer, "it is the outer of two held locks");
    b.finds_busy(inner, "it is the inner of two held locks");
    a.unlock(inner);
    b.finds_free(inner, "it was released");
    b.finds_busy(outer, "only the inner one was released");
    a.unlock(outer);
    b.finds_free(outer, "it was released");
}

fn lock_all_in_opposite_orders_does_not_deadlock(fixture: &Fixture, contenders: Contenders) {
    let (a, b, first) = contenders.start_two(fixture);
    let second = LockRef::Number(a.allocate(""));
    let (first, second) = (first.to_string(), second.to_string());
    for _ in 0..50 {
        let there = a.start("lock_all", &[&first, &second]);
        let back = b.start("lock_all", &[&second, &first]);
        // The second thread answers after the first one has released both locks.
        fixture.wait_until("one of the two threads acquires both locks", || there.has_answered() || back.has_answered());
        let order = [(&a, there, [&first, &second]), (&b, back, [&second, &first])];
        let (early, late): (Vec<_>, Vec<_>) = order.into_iter().partition(|(_, pending, _)| pending.has_answered());
        for (thread, pending, locks) in early.into_iter().chain(late) {
            let ids = pending.done().numbers("ids");
            assert_eq!(ids, locks.map(|lock| lock.parse().expect("a number")), "the guards are in another order than the locks");
            locks.iter().for_each(|lock| drop(thread.must("unlock", &[lock])));
        }
    }
}

fn lock_all_takes_all_or_none(fixture: &Fixture, contenders: Contenders) {
    let (a, b, first) = contenders.start_two(fixture);
    let second = LockRef::Number(a.allocate(""));
    a.lock(second);
    b.refused("TimedOut", "try_lock_all", &[&first.to_string(), &second.to_string()]);
    a.finds_free(first, "lock_all failed, so it must not keep a lock");
    a.unlock(second);
    b.refused("AlreadyHeld", "lock_all", &[&first.to_string(), &first.to_string()]);
    a.finds_free(first, "lock_all was refused");
    b.must("lock_all", &[&first.to_string(), &second.to_string()]);
    a.finds_busy(first, "lock_all acquired it");
    a.finds_busy(second, "lock_all acquired it");
}

fn critical_sections_do_not_overlap(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 4);
    let lock = fixture.a_lock(&threads[0]);
    let (path, arena) = fixture.arena(1);
    let rounds = fixture.repetitions(1000) * scale();
    start_sections(&threads, (&path, arena), rounds, 20, &[lock]).into_iter().for_each(|pending| drop(pending.done()));
    nothing_went_wrong_in(arena.place(0));
    assert_eq!(arena.place(0).done(), 4 * u64::from(rounds), "the number of critical sections is wrong");
}

/// The contention test of the Apache Portable Runtime.
fn six_make_two_hundred_slow_increments_each(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 6);
    let lock = fixture.a_lock(&threads[0]);
    let (path, arena) = fixture.arena(1);
    let rounds = fixture.repetitions(200);
    start_sections(&threads, (&path, arena), rounds, 2000, &[lock]).into_iter().for_each(|pending| drop(pending.done()));
    nothing_went_wrong_in(arena.place(0));
    assert_eq!(arena.place(0).value(), 6 * u64::from(rounds), "increments were lost");
}
