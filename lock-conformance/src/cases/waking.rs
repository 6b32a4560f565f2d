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
