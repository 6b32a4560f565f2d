//! Waiting threads are served in the order of their waits.

use std::time::{Duration, Instant};

use super::cases;
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Pending, Thread};

cases! { "fairness";
    waiters_are_served_in_about_their_order [FAIRNESS WAITERS PROCESSES];
    a_queue_is_served_in_its_order [QUEUED WAITERS PROCESSES];
    a_released_lock_goes_to_the_first_waiter [QUEUED WAITERS PROCESSES];
}

const WAITERS: usize = 6;

fn rounds(fixture: &Fixture) -> usize {
    if need::LOCAL.is_met(&fixture.suite) { 8 } else { 3 }
}

/// The time after which a waiter may have begun to sleep again, because it has checked the owner. Other waiters are before it then.
const CHECKED: Duration = Duration::from_millis(150);

/// Starts a wait, and waits until the lock has this number of waiters.
fn start_as(fixture: &Fixture, thread: &Thread, lock: LockRef, number: usize) -> Pending {
    let waiting = thread.start_lock(lock);
    let counted = || thread_that_counts(thread).must("waiters", &[&lock.to_string()]).get::<usize>("waiters");
    fixture.wait_until(format_args!("{number} waiters are counted"), || counted() == number);
    waiting
}

/// Returns another thread of the process, for commands while the thread itself waits.
fn thread_that_counts(thread: &Thread) -> Thread {
    thread.process.thread("counts")
}

/// Lets threads wait one after the other, and returns the order in which they acquire the lock.
fn order_of_service(fixture: &Fixture, owner: &Thread, threads: &[Thread], lock: LockRef) -> Vec<usize> {
    owner.lock(lock);
    let mut waiting: Vec<_> =
        threads.iter().enumerate().map(|(number, thread)| (number, start_as(fixture, thread, lock, number + 1))).collect();
    owner.unlock(lock);
    let mut order = Vec::new();
    while !waiting.is_empty() {
        fixture.wait_until("a waiter acquires the lock", || waiting.iter().any(|(_, waiting)| waiting.has_answered()));
        let next = waiting.iter().position(|(_, waiting)| waiting.has_answered()).expect("a waiter has answered");
        let (number, pending) = waiting.swap_remove(next);
        pending.granted();
        threads[number].unlock(lock);
        order.push(number);
    }
    order
}

/// Returns the number of pairs that are not in ascending order.
fn inversions(order: &[usize]) -> usize {
    (1..order.len()).map(|at| order[..at].iter().filter(|earlier| **earlier > order[at]).count()).sum()
}

/// Returns a process that owns a lock, and others that wait for it.
fn owner_and_waiters(fixture: &Fixture) -> (Thread, Vec<Thread>, LockRef) {
    let owner = fixture.peer();
    let lock = fixture.a_lock(&owner);
    (owner, (0..WAITERS).map(|_| fixture.peer()).collect(), lock)
}

/// An order by chance has half of all pairs inverted. On a machine that is so busy that a round takes long, the order proves nothing.
fn waiters_are_served_in_about_their_order(fixture: &Fixture) {
    let (owner, threads, lock) = owner_and_waiters(fixture);
    let (mut orders, end) = (Vec::new(), fixture.half_time());
    while orders.len() < rounds(fixture) && Instant::now() < end {
        let began = Instant::now();
        let order = order_of_service(fixture, &owner, &threads, lock);
        if began.elapsed() < fixture.patience(CHECKED) {
            orders.push(order);
        }
    }
    let inverted: usize = orders.iter().map(|order| inversions(order)).sum();
    let most = orders.len() * WAITERS * (WAITERS - 1) / 2 / 4;
    assert!(
        inverted <= most,
        "waiters acquired the lock in the orders {orders:?}, with {inverted} inversions, which is more than {most}"
    );
}

fn a_queue_is_served_in_its_order(fixture: &Fixture) {
    let (owner, threads, lock) = owner_and_waiters(fixture);
    for _ in 0..rounds(fixture) {
        let order = order_of_service(fixture, &owner, &threads, lock);
        assert_eq!(inversions(&order), 0, "the waiters of a queue acquired the lock in the order {order:?}");
    }
}

/// The owner acquires the lock again immediately, by a wait and by an attempt.
fn a_released_lock_goes_to_the_first_waiter(fixture: &Fixture) {
    let (owner, waiter) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    let name = lock.to_string();
    for round in 0..rounds(fixture) * 4 {
        owner.lock(lock);
        let waiting = start_as(fixture, &waiter, lock, 1);
        if round % 2 == 0 {
            let again = owner.start("unlock_and_lock", &[&name]);
            fixture.wait_until("a thread acquires the lock", || waiting.has_answered() || again.has_answered());
            assert!(
                waiting.has_answered() || !again.has_answered(),
                "the owner acquired the lock again, although another thread waited"
            );
            waiting.granted();
            waiter.unlock(lock);
            again.granted();
            owner.unlock(lock);
        } else {
            let again = owner.must("unlock_and_try", &[&name]);
            assert!(again.has("busy"), "an attempt acquired the lock, although another thread waited");
            waiting.granted();
            waiter.unlock(lock);
        }
    }
}
