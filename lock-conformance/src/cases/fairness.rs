//! A waiting thread gets its turn beside threads that acquire the lock again as soon as they have released it.
//!
//! The cases count acquisitions and assert no times. A machine that is busy can delay a thread between the begin of a case's wait and that
//! of the backend's, and other threads proceed meanwhile. So each case passes if most of several trials do. A backend that lets threads
//! overtake a waiter for any length of time fails most of them.

use std::path::Path;

use super::{Contenders, cases_for_all, cases_for_mixed};
use crate::fixture::Fixture;
use crate::process::{LockRef, Pending, Thread};

// A server has a queue, and other cases test its order. Threads that contend without a pause would only show how much load the server bears.
cases_for_all! { "fairness";
    a_waiter_is_overtaken_a_few_times [FAIRNESS LOCAL];
    a_waiter_with_a_deadline_is_overtaken_a_few_times [FAIRNESS DEADLINES LOCAL];
    a_waiter_with_a_cancellation_is_overtaken_a_few_times [FAIRNESS DEADLINES LOCAL];
    attempts_overtake_a_waiter_a_few_times [FAIRNESS LOCAL];
    each_thread_gets_its_share [FAIRNESS LOCAL];
}

cases_for_mixed! { "fairness";
    each_thread_gets_its_share [FAIRNESS LOCAL];
}

/// The number of trials of a case, most of which have to succeed.
const TRIALS: usize = 5;

/// Runs trials until the result of most of them is known. Fails with their failures.
fn most_succeed(mut trial: impl FnMut() -> Result<(), String>) {
    let (mut successes, mut failures) = (0, Vec::new());
    while successes <= TRIALS / 2 && failures.len() <= TRIALS / 2 {
        match trial() {
            Ok(()) => successes += 1,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(
        successes > TRIALS / 2,
        "{} of {} trials failed: {}",
        failures.len(),
        failures.len() + successes,
        failures.join("; ")
    );
}

/// The number of waits in a trial.
const WAITS: u32 = 20;

/// How often a waiter may be overtaken: the median, and the mean.
const MEDIAN: u32 = 2;
const MEAN: u32 = 5;

/// The number of rounds of the busy thread for each wait, after which it ends, and the case fails.
const ROUNDS: u32 = 12;

/// How long each owner holds the lock, in nanoseconds. It is longer than the millisecond after which a waiter is not overtaken any more.
const HOLD: &str = "2000000";

/// An hour in nanoseconds, which is longer than any case takes.
const LONG: &str = "3600000000000";

fn a_waiter_is_overtaken_a_few_times(fixture: &Fixture, contenders: Contenders) {
    is_overtaken_a_few_times(fixture, contenders, "occupy", ("wait_beside", &[]));
}

fn a_waiter_with_a_deadline_is_overtaken_a_few_times(fixture: &Fixture, contenders: Contenders) {
    is_overtaken_a_few_times(fixture, contenders, "occupy", ("wait_with_deadline_beside", &[LONG]));
}

fn a_waiter_with_a_cancellation_is_overtaken_a_few_times(fixture: &Fixture, contenders: Contenders) {
    is_overtaken_a_few_times(fixture, contenders, "occupy", ("wait_with_cancellation_beside", &[]));
}

fn attempts_overtake_a_waiter_a_few_times(fixture: &Fixture, contenders: Contenders) {
    is_overtaken_a_few_times(fixture, contenders, "occupy_by_attempts", ("wait_beside", &[]));
}

fn is_overtaken_a_few_times(fixture: &Fixture, contenders: Contenders, busy_verb: &str, wait: (&str, &[&str])) {
    let (busy, waiter, lock) = contenders.start_two(fixture);
    most_succeed(|| {
        let (path, arena) = fixture.arena(1);
        let occupying = start_occupying(&busy, busy_verb, &path, 0, lock, ROUNDS * WAITS);
        let (memory, name) = (path_of(&path), lock.to_string());
        let waits_text = WAITS.to_string();
        let arguments = [&[memory, "0", name.as_str(), waits_text.as_str()], wait.1].concat();
        let waiting = waiter.start(wait.0, &arguments);
        occupying.begun();
        waiting.begun();
        arena.go();
        let mut overtaken = waiting.done().numbers("overtaken");
        let rounds: u32 = occupying.done().get("rounds");
        let (ended, sum) = (overtaken.len(), overtaken.iter().sum::<u32>());
        overtaken.sort_unstable();
        if ended < WAITS as usize {
            return Err(format!(
                "a thread that acquired the lock {rounds} times overtook a waiter, of which {ended} waits ended"
            ));
        }
        if overtaken[ended / 2] > MEDIAN || sum > MEAN * WAITS {
            return Err(format!(
                "a thread overtook a waiter {overtaken:?} times, which is more than {MEDIAN} or {MEAN} on average"
            ));
        }
        Ok(())
    });
}

fn start_occupying(thread: &Thread, verb: &str, memory: &Path, slot: usize, lock: LockRef, rounds: u32) -> Pending {
    thread.start(verb, &[path_of(memory), &slot.to_string(), &lock.to_string(), &rounds.to_string(), HOLD])
}

fn path_of(path: &Path) -> &str {
    path.to_str().expect("the scratch path is text")
}

/// The number of threads that contend for a lock.
const THREADS: usize = 6;

/// The number of their sections in a trial.
const SECTIONS: u64 = 300;

/// The least share of a thread, as a fraction of the mean: a quarter.
const FRACTION: u64 = 4;

fn each_thread_gets_its_share(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, THREADS);
    let lock = fixture.a_lock(&threads[0]);
    most_succeed(|| {
        let (path, arena) = fixture.arena(1);
        let place = arena.place(0);
        let start = |(slot, thread)| start_occupying(thread, "occupy", &path, slot, lock, u32::MAX);
        let occupying: Vec<_> = threads.iter().enumerate().map(start).collect();
        occupying.iter().for_each(|pending| _ = pending.begun());
        arena.go();
        fixture.wait_until("the threads execute their sections", || place.value() >= SECTIONS);
        arena.stop();
        let shares: Vec<_> = (0..THREADS).map(|slot| place.done_by(slot)).collect();
        occupying.into_iter().for_each(|pending| _ = pending.done());
        let least = SECTIONS / THREADS as u64 / FRACTION;
        match shares.iter().all(|share| *share >= least) {
            true => Ok(()),
            false => Err(format!("of threads that acquired the lock {shares:?} times, one got less than {least}")),
        }
    });
}
