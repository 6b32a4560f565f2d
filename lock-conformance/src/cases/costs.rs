//! Attempts that do not sleep, and waits that use no processor.
//!
//! No case asserts how long a single operation takes, which depends on what else the machine does. A case takes the quickest of many
//! operations, or leaves out the time in which a thread could not run.

use std::thread::sleep;
use std::time::Duration;

use super::{Who, cases, cases_for_all};
use crate::fixture::Fixture;
use crate::need;
use crate::process::Thread;

cases_for_all! { "costs";
    an_attempt_does_not_sleep [];
}

cases! { "costs";
    a_wait_uses_no_processor [];
    a_wait_with_a_deadline_uses_no_processor [DEADLINES];
}

/// Number of attempts of which the quickest counts, and the time that is enough.
const ATTEMPTS: &str = "160";
const ENOUGH: Duration = Duration::from_millis(2);
/// A sleep that is seen in each attempt: longer than the interval of the kernel's clock.
const LONG: Duration = Duration::from_millis(12);

/// Any sleep of 2 ms or more in an attempt is seen.
fn an_attempt_does_not_sleep(fixture: &Fixture, who: Who) {
    let (owner, other, lock) = who.two(fixture);
    owner.lock(lock);
    let took = other.must("quickest_attempt", &[&lock.to_string(), ATTEMPTS, &ENOUGH.as_nanos().to_string()]).get("took");
    let took = Duration::from_nanos(took);
    assert!(took <= ENOUGH, "try_lock of a held lock took {took:?} or more, each of {ATTEMPTS} times: an attempt must not sleep");
    let slept: u32 = other.must("attempts_with_sleep", &[&lock.to_string(), ATTEMPTS, &LONG.as_nanos().to_string()]).get("slept");
    assert!(
        slept < 2,
        "in {slept} of {ATTEMPTS} attempts on a held lock, try_lock slept for {LONG:?}: an attempt must not sleep"
    );
}

/// Number of waits, the time for which each is measured, and the time for which one is measured that seems to run. It runs if it does both
/// times.
const WAITS: u32 = 55;
const GLANCE: Duration = Duration::from_millis(10);
/// The time for which a waiter is measured, and the part of it that it may run. A lock that is polled 2,000 times a second runs for less.
const MEASURED: Duration = Duration::from_millis(400);
const PERCENT: u128 = 40;

fn a_wait_uses_no_processor(fixture: &Fixture) {
    runs_little_while_it_waits(fixture, "lock", &[]);
}

fn a_wait_with_a_deadline_uses_no_processor(fixture: &Fixture) {
    runs_little_while_it_waits(fixture, "lock_for", &["3600000000000"]);
}

fn runs_little_while_it_waits(fixture: &Fixture, verb: &str, more: &[&str]) {
    let who = if need::PROCESSES.is_met(&fixture.suite) { Who::Processes } else { Who::Threads };
    let (owner, other, lock) = who.two(fixture);
    let name = lock.to_string();
    for wait in 0..WAITS {
        owner.lock(lock);
        let waiter = other.start(verb, &[&[name.as_str()], more].concat());
        waiter.begun();
        // A waiter may poll for a short time before it sleeps.
        sleep(GLANCE / 2);
        // The time of a thread that waits for a processor all the while is not counted yet.
        let was_awake = other.process.is_awake();
        let (_, percent) = busiest(&other, GLANCE);
        let seems_to_run = percent > PERCENT || (was_awake && other.process.is_awake());
        let (tid, percent) = match wait {
            0 => busiest(&other, MEASURED),
            _ if seems_to_run => busiest(&other, MEASURED / 4),
            _ => (0, 0),
        };
        assert!(
            percent <= PERCENT,
            "while it waits in {verb}, thread {tid} of the waiter's process runs for {percent} % of the time: a wait must sleep"
        );
        owner.unlock(lock);
        waiter.granted();
        other.unlock(lock);
    }
}

/// The thread that runs most of all threads of the process, during this time.
fn busiest(thread: &Thread, time: Duration) -> (u32, u128) {
    let before = thread.process.times();
    sleep(time);
    let after = thread.process.times();
    let parts = after.iter().filter_map(|(tid, after)| Some((*tid, after.percent_since(*before.get(tid)?))));
    parts.max_by_key(|(_, percent)| *percent).unwrap_or_default()
}
