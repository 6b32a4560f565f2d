//! Waits with a deadline.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::ClockId;

use super::{Contenders, cases, cases_for_all, cases_for_mixed};
use crate::fixture::Fixture;
use crate::process::{LockRef, Thread, grant};
use crate::protocol::Refusal;
use crate::trace::{Call, Trace};

/// Long enough for a waiter to sleep, short enough for many cases.
const SHORT: Duration = Duration::from_millis(40);
/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(3600);

cases_for_all! { "deadlines";
    a_busy_lock_times_out_and_not_early [DEADLINES];
    a_time_out_is_not_late [DEADLINES];
    a_deadline_that_has_passed_is_one_attempt [DEADLINES];
    a_lock_that_is_released_in_time_is_granted [DEADLINES];
    a_duration_beyond_all_clocks_is_no_deadline [DEADLINES];
    who_gives_up_leaves_no_trace [DEADLINES];
    a_storm_of_signals_does_not_end_a_wait [];
}

cases_for_mixed! { "deadlines";
    who_gives_up_leaves_no_trace [DEADLINES];
    a_time_out_is_not_late [DEADLINES];
}

cases! { "deadlines";
    a_time_out_names_the_holder [DEADLINES HOLDERS];
    no_time_out_is_early_in_a_storm_of_signals [DEADLINES];
    a_lock_is_granted_in_a_storm_of_signals [DEADLINES];
    no_wait_is_on_a_clock_that_can_be_set [DEADLINES TRACED];
    a_clock_that_is_set_back_moves_no_deadline [DEADLINES CLOCK];
    a_wait_with_a_deadline_is_refused [] unless DEADLINES;
}

/// Waits for a busy lock, and asserts that the time-out is not early.
fn times_out(thread: &Thread, verb: &str, lock: LockRef, duration: Duration) -> Refusal {
    let refusal = thread.refused("TimedOut", verb, &[&lock.to_string(), &duration.as_nanos().to_string()]);
    let took = Duration::from_nanos(refusal.fields.get("took"));
    assert!(took >= duration, "{verb} gave up too early: after {took:?} instead of {duration:?}");
    refusal
}

fn a_busy_lock_times_out_and_not_early(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.lock(lock);
    for duration in [Duration::from_nanos(1), Duration::from_millis(1), SHORT] {
        times_out(&b, "lock_for", lock, duration);
        times_out(&b, "lock_until", lock, duration);
    }
    a.unlock(lock);
    b.lock_for(lock, SHORT).expect("a free lock is granted whatever the deadline");
}

/// Number of time-outs. One of them may be late, because the machine may pause.
const TIME_OUTS: u32 = 160;
/// Delay after the deadline from which a time-out is late.
const LATE: Duration = Duration::from_millis(60);

fn a_time_out_is_not_late(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.lock(lock);
    let (short, late) = (Duration::from_millis(1), fixture.patience(LATE));
    let [count, span, late] = [TIME_OUTS.into(), short.as_nanos(), late.as_nanos()].map(|number| number.to_string());
    let done = b.must("late_time_outs", &[&lock.to_string(), &count, &span, &late]);
    if let Some(took) = done.find("early") {
        panic!("lock_for gave up too early: after {:?} instead of {short:?}", Duration::from_nanos(took));
    }
    let late: u32 = done.get("late");
    assert!(late < 2, "{late} of up to {TIME_OUTS} time-outs of {short:?} were late by {:?} or more", fixture.patience(LATE));
}

fn a_deadline_that_has_passed_is_one_attempt(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    let name = lock.to_string();
    a.lock(lock);
    b.refused("TimedOut", "lock_for", &[&name, "0"]);
    b.refused("TimedOut", "lock_until", &[&name, "0"]);
    b.refused("TimedOut", "lock_until_past", &[&name, "1000000"]);
    a.unlock(lock);
    for (verb, nanoseconds) in [("lock_for", "0"), ("lock_until", "0"), ("lock_until_past", "1000000")] {
        b.must(verb, &[&name, nanoseconds]);
        a.finds_busy(lock, "the waiter acquired the free lock, although its deadline had passed");
        b.unlock(lock);
    }
}

fn a_lock_that_is_released_in_time_is_granted(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    for verb in ["lock_for", "lock_until"] {
        a.lock(lock);
        let waiter = b.start(verb, &[&lock.to_string(), &LONG.as_nanos().to_string()]);
        waiter.waits("another thread holds the lock, and the deadline is an hour away");
        a.unlock(lock);
        waiter.granted();
        a.finds_busy(lock, "the waiter owns it");
        b.unlock(lock);
    }
}

fn a_duration_beyond_all_clocks_is_no_deadline(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    a.lock(lock);
    let (ten_thousand_years, most) = (10_000_u64 * 365 * 86_400 * 1_000_000, u64::MAX.to_string());
    for duration in ["max", &most, &ten_thousand_years.to_string()] {
        let waiter = b.start("lock_for", &[&lock.to_string(), duration]);
        waiter.waits("another thread holds the lock, and the deadline is thousands of years away");
        a.unlock(lock);
        waiter.granted();
        b.unlock(lock);
        a.lock(lock);
    }
}

fn who_gives_up_leaves_no_trace(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 3);
    let (a, b, c) = (&threads[0], &threads[1], &threads[2]);
    let lock = fixture.a_lock(a);
    for _ in 0..3 {
        a.lock(lock);
        let patient = c.start_lock(lock);
        patient.waits("another thread holds the lock");
        times_out(b, "lock_for", lock, SHORT);
        patient.waits("another thread holds the lock, and only the other waiter timed out");
        a.unlock(lock);
        patient.granted();
        b.finds_busy(lock, "the remaining waiter acquired it");
        c.unlock(lock);
        b.finds_free(lock, "its last owner released it");
    }
}

fn a_time_out_names_the_holder(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    let refusal = times_out(&b, "lock_for", lock, SHORT);
    let named: Option<u32> = refusal.fields.find("pid");
    assert_eq!(named, Some(a.pid()), "the time-out does not name the holder: {}", refusal.text);
    assert!(refusal.text.contains(&a.pid().to_string()), "the message does not contain the pid: {}", refusal.text);
    if let Some(tid) = refusal.fields.find::<u32>("tid").filter(|tid| *tid != 0) {
        assert_eq!(tid, a.tid(), "the time-out names another thread of the holder");
    }
}

fn no_time_out_is_early_in_a_storm_of_signals(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    a.must("storm", &[&b.tid().to_string()]);
    for _ in 0..3 {
        let before = signals(&a);
        times_out(&b, "lock_for", lock, 3 * SHORT);
        assert!(signals(&a) > before, "no signal was delivered, so the case tested nothing");
    }
}

/// Returns the number of delivered signals.
fn signals(thread: &Thread) -> u64 {
    thread.must("signals", &[]).get("count")
}

fn a_storm_of_signals_does_not_end_a_wait(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    let beside = b.process.thread("beside");
    beside.must("storm", &[&b.tid().to_string()]);
    for _ in 0..3 {
        a.lock(lock);
        let waiter = b.start_lock(lock);
        waiter.begun();
        let before = signals(&beside);
        fixture.wait_until("signals are delivered", || signals(&beside) > before + 20);
        waiter.waits("another thread holds the lock, and signals do not end the wait");
        a.unlock(lock);
        waiter.granted();
        b.unlock(lock);
    }
}

fn a_lock_is_granted_in_a_storm_of_signals(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.must("storm", &[&b.tid().to_string()]);
    a.lock(lock);
    let waiter = b.start("lock_for", &[&lock.to_string(), &LONG.as_nanos().to_string()]);
    waiter.waits("another thread holds the lock");
    a.unlock(lock);
    assert!(grant(&waiter.done()).is_some(), "a wait in a storm of signals ended without the lock");
}

/// Traces the system calls of the waiter, so that the case need not set the clock of the machine.
fn no_wait_is_on_a_clock_that_can_be_set(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    let mut trace = Trace::of(b.tid()).expect("a thread of a child can be traced");
    for verb in ["lock_for", "lock_until"] {
        let waiter = b.start(verb, &[&lock.to_string(), &SHORT.as_nanos().to_string()]);
        let calls = trace.follow(|| waiter.has_answered(), fixture.deadline).expect("the waiter can be traced to its end");
        let refusal = waiter.outcome().expect_err("the lock is held");
        assert_eq!(refusal.kind, "TimedOut", "a wait ended with an unexpected error: {refusal}");
        assert!(!calls.is_empty(), "a wait made no system call, so the case tested nothing");
        let settable: Vec<_> = calls.iter().filter_map(Call::on_a_clock_that_can_be_set).collect();
        assert!(settable.is_empty(), "a wait uses a clock that can be set: {settable:?}");
    }
}

/// Sets the machine's clock back until it is dropped.
struct SetBack(Duration);

impl SetBack {
    fn by(amount: Duration) -> Self {
        move_clock(|now| now - amount);
        Self(amount)
    }
}

impl Drop for SetBack {
    fn drop(&mut self) {
        move_clock(|now| now + self.0);
    }
}

fn move_clock(to: impl FnOnce(Duration) -> Duration) {
    let clock = ClockId::CLOCK_REALTIME;
    let now = Duration::from(clock.now().expect("the clock can be read"));
    nix::time::clock_settime(clock, TimeSpec::from_duration(to(now))).expect("the clock can be set");
}

/// A wait on that clock would last an hour longer, and the watchdog would end the case.
fn a_clock_that_is_set_back_moves_no_deadline(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    for verb in ["lock_for", "lock_until"] {
        let waiter = b.start(verb, &[&lock.to_string(), &(5 * SHORT).as_nanos().to_string()]);
        waiter.waits("another thread holds the lock");
        let _clock_is_back = SetBack::by(Duration::from_secs(3600));
        let refusal = waiter.outcome().expect_err("the lock is held");
        assert_eq!(refusal.kind, "TimedOut", "a wait ended with an unexpected error: {refusal}");
        let took = Duration::from_nanos(refusal.fields.get("took"));
        assert!(took >= 5 * SHORT, "{verb} gave up too early, after {took:?}");
    }
}

fn a_wait_with_a_deadline_is_refused(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    b.refused("Unsupported", "lock_for", &[&lock.to_string(), &SHORT.as_nanos().to_string()]);
    b.finds_busy(lock, "an attempt does not wait, so it is not refused");
    a.unlock(lock);
    b.finds_free(lock, "it was released");
}
