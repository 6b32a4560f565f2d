//! A release wakes a waiter.
//!
//! A waiter that polls also acquires the lock, but later. The cases do not assert the time of a single hand-over, which depends on the
//! machine. They run so many in a row that a tenth of a second for each exceeds the time limit of the case.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Contenders, cases, cases_for_all, cases_for_mixed, first_ids};
use crate::fixture::{Fixture, MARGIN, scale};
use crate::need;
use crate::process::{LockRef, Pending};
use crate::usage::{SleepTimer, monotonic_time};

cases! { "waking";
    whoever_waits_is_woken [];
    whoever_waits_with_a_deadline_is_woken [DEADLINES];
    all_who_wait_are_woken_one_after_the_other [];
    whoever_waits_for_a_thread_that_ends_is_woken [THREAD_DEATH];
    a_waiter_is_woken_soon_after_a_long_wait [];
    a_waiter_with_a_deadline_is_woken_soon_after_a_long_wait [DEADLINES];
}

cases_for_all! { "waking";
    a_waiter_is_woken_soon [];
    a_waiter_with_a_deadline_is_woken_soon [DEADLINES];
}

cases_for_mixed! { "waking";
    a_waiter_is_woken_soon [];
    a_waiter_with_a_deadline_is_woken_soon [DEADLINES];
}

const HAND_OVERS: usize = 700;

/// Time limit for all hand-overs.
///
/// They need a small part of it, unless half of them take a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// An hour in nanoseconds, which is longer than any case takes.
const LONG: &str = "3600000000000";

fn whoever_waits_is_woken(fixture: &Fixture) {
    hand_over(fixture, "lock", &[]);
}

fn whoever_waits_with_a_deadline_is_woken(fixture: &Fixture) {
    hand_over(fixture, "lock_for", &[LONG]);
}

fn hand_over(fixture: &Fixture, verb: &str, more: &[&str]) {
    let contenders = if need::PROCESSES.is_met(&fixture.suite) { Contenders::Processes } else { Contenders::Threads };
    let (mut owner, mut other, lock) = contenders.start_two(fixture);
    let name = lock.to_string();
    owner.lock(lock);
    let began = Instant::now();
    let end = (began + PATIENCE * scale()).min(fixture.deadline - MARGIN);
    for done in 0..HAND_OVERS {
        assert!(
            Instant::now() < end,
            "watchdog: only {done} of {HAND_OVERS} hand-overs in {:?}: a release does not wake the waiter",
            began.elapsed()
        );
        let waiter = other.start(verb, &[&[name.as_str()], more].concat());
        match done % 2 {
            0 => waiter.waits("another thread holds the lock"),
            // The release precedes the waiter's sleep, or coincides with its start.
            _ => _ = waiter.begun(),
        }
        owner.unlock(lock);
        waiter.granted();
        std::mem::swap(&mut owner, &mut other);
    }
}

/// The first waiter has to wake the second one, which began to wait while the first one slept.
fn all_who_wait_are_woken_one_after_the_other(fixture: &Fixture) {
    let contenders = if need::PROCESSES.is_met(&fixture.suite) { Contenders::Processes } else { Contenders::Threads };
    let threads = contenders.start(fixture, 3);
    let (owner, b, c) = (&threads[0], &threads[1], &threads[2]);
    let lock = fixture.a_lock(owner);
    for round in 0..HAND_OVERS / 2 {
        owner.lock(lock);
        let mut waiting = vec![(b, b.start_lock(lock)), (c, c.start_lock(lock))];
        for (_, waiter) in &waiting {
            match round % 2 {
                0 => waiter.waits("another thread holds the lock"),
                _ => _ = waiter.begun(),
            }
        }
        owner.unlock(lock);
        while !waiting.is_empty() {
            fixture.wait_until("a waiter is woken", || waiting.iter().any(|(_, waiter)| waiter.has_answered()));
            let next = waiting.iter().position(|(_, waiter)| waiter.has_answered()).expect("a waiter has answered");
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
        assert!(waiter.granted().death.is_some(), "a thread ended holding the lock, but the next owner received no report");
        process.unlock(lock);
    }
}

/// Number of hand-overs, and number of late ones that prove a fault.
///
/// One may be late, because the machine may pause.
const MEASURED: usize = 260;
const SEVERAL: usize = 2;
/// Longer than a hand-over takes, shorter than the polling interval of waiters that are not woken.
const LATE: Duration = Duration::from_millis(40);

/// Runs `release`, and returns the number of waiters that acquire their locks late.
///
/// Such a waiter continues to sleep for a long time. Time spent waiting for a processor does not count.
fn number_that_sleep_on(fixture: &Fixture, waiting: Vec<(Pending, LockRef)>, release: impl FnOnce()) -> usize {
    let tids: Vec<_> = waiting.iter().map(|(waiter, _)| (waiter.thread().pid(), waiter.begun())).collect();
    release();
    let (released, late_after) = (monotonic_time(), fixture.patience(LATE));
    let timers = tids.into_iter().map(|(pid, tid)| SleepTimer::of_thread(pid, tid));
    let mut asleep: VecDeque<_> = timers.enumerate().collect();
    let mut slept = vec![false; waiting.len()];
    // The watchdog ends the case if a waiter neither sleeps nor acquires its lock.
    while Instant::now() < fixture.deadline {
        asleep.retain(|(n, _)| !waiting[*n].0.has_answered());
        // Measured one by one, because the others may acquire their locks meanwhile.
        let Some((n, timer)) = asleep.pop_front() else { break };
        slept[n] = timer.has_slept_for(late_after);
        if !slept[n] {
            asleep.push_back((n, timer));
        }
        sleep(Duration::from_micros(100));
    }
    let mut late = 0;
    for ((waiter, lock), slept) in waiting.into_iter().zip(slept) {
        let thread = waiter.thread().clone();
        let at = Duration::from_nanos(waiter.done().get("at"));
        // A late answer does not prove a late acquisition.
        late += usize::from(slept && at.saturating_sub(released) > late_after);
        thread.unlock(lock);
    }
    late
}

fn a_waiter_is_woken_soon(fixture: &Fixture, contenders: Contenders) {
    is_woken_soon(fixture, contenders, ("lock", &[]));
}

fn a_waiter_with_a_deadline_is_woken_soon(fixture: &Fixture, contenders: Contenders) {
    is_woken_soon(fixture, contenders, ("lock_for", &[LONG]));
}

/// Other threads of the processes wait for another lock.
///
/// A backend that wakes a whole process instead of a thread may wake these.
fn is_woken_soon(fixture: &Fixture, contenders: Contenders, verb: (&str, &[&str])) {
    let threads = contenders.start(fixture, 3);
    let lock = fixture.a_lock(&threads[0]);
    let bystanders = [threads[0].process.thread("beside-a"), threads[1].process.thread("beside-b")];
    let other = need::NUMBERED.is_met(&fixture.suite).then(|| LockRef::Number(threads[0].allocate("")));
    let keeper = threads[0].process.thread("keeper");
    let beside = other.map(|other| {
        keeper.lock(other);
        bystanders.each_ref().map(|thread| thread.start_lock(other))
    });
    for waiter in beside.iter().flatten() {
        waiter.waits("another thread holds that lock");
    }
    let name = lock.to_string();
    let mut late = 0;
    for round in 0..MEASURED {
        let (owner, waiter) = (&threads[round % 3], &threads[(round + 1) % 3]);
        // The number of acquisitions varies, so that a fault in every nth wait is found.
        if round % 7 == 0 {
            owner.finds_free(lock, "it was released");
        }
        assert!(owner.try_lock(lock).is_some(), "{owner} found the lock {lock} busy, although it was released");
        let waiting = waiter.start(verb.0, &[&[name.as_str()], verb.1].concat());
        // Long enough for the waiter to sleep, and shorter than a polling interval.
        waiting.begun();
        sleep(Duration::from_millis(1));
        late += number_that_sleep_on(fixture, vec![(waiting, lock)], || owner.unlock(lock));
        assert!(
            late < SEVERAL,
            "{late} of {} waits in {} lasted {:?} longer than the lock was held: a release does not wake them",
            round + 1,
            verb.0,
            fixture.patience(LATE)
        );
    }
}

fn a_waiter_is_woken_soon_after_a_long_wait(fixture: &Fixture) {
    is_woken_soon_after_a_long_wait(fixture, ("lock", &[]));
}

fn a_waiter_with_a_deadline_is_woken_soon_after_a_long_wait(fixture: &Fixture) {
    is_woken_soon_after_a_long_wait(fixture, ("lock_for", &[LONG]));
}

/// Many threads wait at the same time, because each of them has to wait for long.
fn is_woken_soon_after_a_long_wait(fixture: &Fixture, verb: (&str, &[&str])) {
    let contenders = if need::PROCESSES.is_met(&fixture.suite) { Contenders::Processes } else { Contenders::Threads };
    let (owner, other, first) = contenders.start_two(fixture);
    let is_numbered = need::NUMBERED.is_met(&fixture.suite);
    let (locks, rounds): (Vec<_>, _) =
        if is_numbered { (first_ids(fixture, &owner, 36).map(LockRef::Number).collect(), 5) } else { (vec![first], 9) };
    for _ in 0..rounds {
        locks.iter().for_each(|lock| _ = owner.lock(*lock));
        let start = |lock: &LockRef| {
            let waiter = other.process.thread(&format!("w{lock}"));
            (waiter.start(verb.0, &[&[lock.to_string().as_str()], verb.1].concat()), *lock)
        };
        let waiting: Vec<_> = locks.iter().map(start).collect();
        waiting.iter().for_each(|(waiter, _)| _ = waiter.begun());
        sleep(Duration::from_millis(260));
        let late = number_that_sleep_on(fixture, waiting, || drop(owner.must("release_all", &[])));
        assert_eq!(
            late,
            0,
            "some of {} waits of 260 ms or more lasted {:?} longer than the lock was held: the waiter backs off",
            locks.len(),
            fixture.patience(LATE)
        );
    }
}
