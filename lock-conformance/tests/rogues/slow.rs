//! Backends that sleep when they must not, run when they must sleep, or are late.

use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, RawLock, Result};

use super::Sinner;
use super::sin::{Sin, sinner};

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<SleepsInAttempts>(),
        sinner::<RunsWhileItWaits>(),
        sinner::<RunsWhileItWaitsForADeadline>(),
        sinner::<IsLateByATenth>(),
        sinner::<BacksOff>(),
        sinner::<ChecksTenTimesASecond>(),
    ]
}

/// Sleeps for 20 ms when it tries a busy lock.
#[derive(Debug)]
struct SleepsInAttempts;

impl Sin for SleepsInAttempts {
    const NAME: &'static str = "sleeps-in-attempts";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("costs::threads::an_attempt_does_not_sleep", "an attempt must not sleep"),
        ("costs::processes::an_attempt_does_not_sleep", "an attempt must not sleep"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        if acquired != Acquired::TimedOut || deadline != Deadline::Now {
            return Ok(acquired);
        }
        thread::sleep(Duration::from_millis(20));
        honest.acquire(deadline)
    }
}

/// Tries the lock again and again, with this between two attempts.
fn poll(honest: &dyn RawLock, deadline: Deadline, mut pause: impl FnMut()) -> Result<Acquired> {
    loop {
        let acquired = honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        pause();
    }
}

/// Runs for a while.
fn spin() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
}

/// Waits without a deadline by running.
#[derive(Debug)]
struct RunsWhileItWaits;

impl Sin for RunsWhileItWaits {
    const NAME: &'static str = "runs-while-it-waits";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("costs::a_wait_uses_no_processor", "while it waits in lock, thread")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if deadline == Deadline::Never { poll(honest, deadline, spin) } else { honest.acquire(deadline) }
    }
}

/// Waits with a deadline by running.
#[derive(Debug)]
struct RunsWhileItWaitsForADeadline;

impl Sin for RunsWhileItWaitsForADeadline {
    const NAME: &'static str = "runs-while-it-waits-for-a-deadline";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("costs::a_wait_with_a_deadline_uses_no_processor", "while it waits in lock_for, thread")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if deadline == Deadline::Never { honest.acquire(deadline) } else { poll(honest, deadline, spin) }
    }
}

/// Notices a deadline up to 100 ms late.
#[derive(Debug)]
struct IsLateByATenth;

impl Sin for IsLateByATenth {
    const NAME: &'static str = "is-late-by-a-tenth";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("deadlines::threads::a_time_out_is_not_late", "time-outs of 1ms were late by"),
        ("deadlines::processes::a_time_out_is_not_late", "time-outs of 1ms were late by"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        if acquired == Acquired::TimedOut && matches!(deadline, Deadline::At(_)) {
            thread::sleep(Duration::from_millis(100));
        }
        Ok(acquired)
    }
}

/// Doubles the pause between two attempts, up to 250 ms.
#[derive(Debug)]
struct BacksOff;

impl Sin for BacksOff {
    const NAME: &'static str = "backs-off";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("waking::a_waiter_is_woken_soon_after_a_long_wait", "the waiter backs off"),
        ("waking::a_waiter_with_a_deadline_is_woken_soon_after_a_long_wait", "the waiter backs off"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let mut pause = Duration::from_millis(1);
        poll(honest, deadline, || {
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
            pause = (pause * 2).min(Duration::from_millis(250));
        })
    }
}

/// Looks ten times a second, since no release wakes it.
#[derive(Debug)]
struct ChecksTenTimesASecond;

impl Sin for ChecksTenTimesASecond {
    const NAME: &'static str = "checks-ten-times-a-second";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("waking::threads::a_waiter_is_woken_soon", "a release does not wake them"),
        ("waking::handles::a_waiter_with_a_deadline_is_woken_soon", "a release does not wake them"),
        ("waking::mixed::a_waiter_is_woken_soon", "a release does not wake them"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let pause = Duration::from_millis(100);
        poll(honest, deadline, || thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause))))
    }
}
