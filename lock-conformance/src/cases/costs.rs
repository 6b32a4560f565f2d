//! Attempts that do not sleep, and waits that use no processor.
//!
//! No case asserts the duration of a single operation, which depends on the load of the machine. A case uses the minimum of many
//! operations, or excludes the time in which a thread could not run.

use std::thread::sleep;
use std::time::Duration;

use super::{Contenders, cases, cases_for_all};
use crate::fixture::Fixture;
use crate::need;

cases_for_all! { "costs";
    an_attempt_does_not_sleep [LOCAL];
}

cases! { "costs";
    a_wait_uses_no_processor [];
    a_wait_with_a_deadline_uses_no_processor [DEADLINES];
}

/// Number of attempts, and the longest duration that the quickest of them may have.
const ATTEMPTS: &str = "320";
const ENOUGH: Duration = Duration::from_millis(2);
/// Duration of a sleep that an attempt must not contain. It exceeds the interval of the kernel's clock.
const LONG: Duration = Duration::from_millis(12);

/// Sleeps of 2 ms or more are detected.
fn an_attempt_does_not_sleep(fixture: &Fixture, contenders: Contenders) {
    let (owner, other, lock) = contenders.start_two(fixture);
    owner.lock(lock);
    let took = other.must("quickest_attempt", &[&lock.to_string(), ATTEMPTS, &ENOUGH.as_nanos().to_string()]).get("took");
    let took = Duration::from_nanos(took);
    assert!(took <= ENOUGH, "try_lock of a held lock took {took:?} or more, each of {ATTEMPTS} times: an attempt must not sleep");
    let slept: u32 = other.must("attempts_with_sleep", &[&lock.to_string(), ATTEMPTS, &LONG.as_nanos().to_string()]).get("slept");
    // A wait for a processor can count as a sleep on a busy machine, but rarely.
    assert!(
        slept < 4,
        "in {slept} of {ATTEMPTS} attempts on a held lock, try_lock slept for {LONG:?}: an attempt must not sleep"
    );
}

/// Number of waits, and the time after which a waiter has to sleep. It may poll before.
const WAITS: u32 = 55;
const POLLING: Duration = Duration::from_millis(15);
/// Number of times that the state of a waiter is read, and the time before each.
const READINGS: u32 = 5;
const BEFORE_READING: Duration = Duration::from_millis(4);
/// A waiter must not use the processor for `RUNNING` before it has slept for `SLEEPING`.
///
/// A waiter that polls 2,000 times a second stays below this limit.
const RUNNING: Duration = Duration::from_millis(40);
const SLEEPING: Duration = Duration::from_millis(60);

fn a_wait_uses_no_processor(fixture: &Fixture) {
    runs_little_while_it_waits(fixture, "lock", &[]);
}

fn a_wait_with_a_deadline_uses_no_processor(fixture: &Fixture) {
    runs_little_while_it_waits(fixture, "lock_for", &["3600000000000"]);
}

fn runs_little_while_it_waits(fixture: &Fixture, verb: &str, more: &[&str]) {
    let contenders = if need::PROCESSES.is_met(&fixture.suite) { Contenders::Processes } else { Contenders::Threads };
    let (owner, other, lock) = contenders.start_two(fixture);
    let name = lock.to_string();
    for wait in 0..WAITS {
        owner.lock(lock);
        let waiter = other.start(verb, &[&[name.as_str()], more].concat());
        waiter.begun();
        sleep(POLLING);
        // On a busy machine the waiter may start late, so one reading is not enough.
        let seems_to_run = (0..READINGS).any(|_| {
            sleep(BEFORE_READING);
            other.process.is_awake()
        });
        // The first wait is always measured.
        if wait == 0 || seems_to_run {
            let runs = other.process.thread_that_runs(RUNNING, SLEEPING);
            assert_eq!(
                runs, None,
                "while it waits in {verb}, a thread of the waiter's process runs for {RUNNING:?} before it has slept for \
                 {SLEEPING:?}: a wait must sleep"
            );
        }
        owner.unlock(lock);
        waiter.granted();
        other.unlock(lock);
    }
}
