//! That a release wakes who waits.
//!
//! A waiter that sleeps for a while and looks again gets the lock, too, only later; and a time is nothing that a test asserts. But so
//! many hand-overs in a row take longer than a case may, if each of them takes a tenth of a second.

use super::{Who, cases};
use crate::fixture::Fixture;
use crate::need;

cases! { "waking";
    whoever_waits_is_woken [];
    whoever_waits_with_a_deadline_is_woken [DEADLINES];
    all_who_wait_are_woken_one_after_the_other [];
    whoever_waits_for_a_thread_that_ends_is_woken [THREAD_DEATH];
}

const HAND_OVERS: usize = 700;

/// An hour, which is longer than any case takes.
const LONG: &str = "3600000000000";

fn whoever_waits_is_woken(fixture: &Fixture) {
    hand_over(fixture, "lock", &[]);
}

fn whoever_waits_with_a_deadline_is_woken(fixture: &Fixture) {
    hand_over(fixture, "lock_for", &[LONG]);
}

fn hand_over(fixture: &Fixture, verb: &str, more: &[&str]) {
    let who = if need::PROCESSES.is_met(&fixture.suite) { Who::Processes } else { Who::Threads };
    let (mut owner, mut other, lock) = who.two(fixture);
    let name = lock.to_string();
    owner.lock(lock);
    for _ in 0..HAND_OVERS {
        let waiter = other.start(verb, &[&[name.as_str()], more].concat());
        waiter.waits("somebody else holds the lock");
        owner.unlock(lock);
        waiter.granted();
        std::mem::swap(&mut owner, &mut other);
    }
}

/// The second waiter is woken by the first, which slept itself when the second came.
fn all_who_wait_are_woken_one_after_the_other(fixture: &Fixture) {
    let who = if need::PROCESSES.is_met(&fixture.suite) { Who::Processes } else { Who::Threads };
    let threads = who.come(fixture, 3);
    let (owner, b, c) = (&threads[0], &threads[1], &threads[2]);
    let lock = fixture.a_lock(owner);
    for _ in 0..HAND_OVERS / 2 {
        owner.lock(lock);
        let mut waiting = vec![(b, b.start_lock(lock)), (c, c.start_lock(lock))];
        waiting.iter().for_each(|(_, waiter)| waiter.waits("somebody else holds the lock"));
        owner.unlock(lock);
        while !waiting.is_empty() {
            fixture.wait_until("a waiter is woken", || waiting.iter().any(|(_, waiter)| waiter.has_answered()));
            let next = waiting.iter().position(|(_, waiter)| waiter.has_answered()).expect("one has answered");
            let (thread, waiter) = waiting.swap_remove(next);
            waiter.granted();
            thread.unlock(lock);
        }
    }
}

fn whoever_waits_for_a_thread_that_ends_is_woken(fixture: &Fixture) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    for n in 0..HAND_OVERS / 2 {
        let owner = process.process.thread(&format!("t{n}"));
        owner.lock(lock);
        let waiter = process.start_lock(lock);
        waiter.waits("the owner lives");
        owner.must("end", &[]);
        assert!(waiter.granted().death.is_some(), "a thread ended holding the lock, and the next owner was not told");
        process.unlock(lock);
    }
}
