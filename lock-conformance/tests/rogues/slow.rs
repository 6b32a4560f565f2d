//! Wrong backends that sleep in an attempt, spin instead of sleeping, or are late.

use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, RawLock, Result};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, rarely};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<SleepsInAttempts>(),
        rarely::<SleepsInAttempts>(),
        faulty::<SpinsWhileItWaits>(),
        rarely::<SpinsWhileItWaits>(),
        faulty::<SpinsUntilTheDeadline>(),
        rarely::<SpinsUntilTheDeadline>(),
        faulty::<IsLate>(),
        rarely::<IsLate>(),
        faulty::<BacksOff>(),
        rarely::<BacksOff>(),
        faulty::<ChecksTenTimesASecond>(),
        rarely::<ChecksTenTimesASecond>(),
    ]
}

#[derive(Debug)]
struct SleepsInAttempts;

impl Fault for SleepsInAttempts {
    const NAME: &'static str = "sleeps-in-attempts";
    const FAULT: &'static str = "Sleeps for 20 ms in an attempt to acquire a busy lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("costs::threads::an_attempt_does_not_sleep", "an attempt must not sleep"),
        ("costs::handles::an_attempt_does_not_sleep", "an attempt must not sleep"),
        ("costs::processes::an_attempt_does_not_sleep", "an attempt must not sleep"),
    ];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Try];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        if acquired != Acquired::TimedOut || deadline != Deadline::Now {
            return Ok(acquired);
        }
        thread::sleep(Duration::from_millis(20));
        honest.acquire(deadline)
    }
}

/// Polls the lock, and calls `pause` between two attempts.
fn poll(honest: &dyn RawLock, deadline: Deadline, mut pause: impl FnMut()) -> Result<Acquired> {
    loop {
        let acquired = honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        pause();
    }
}

/// Polls for a short time, and then spins.
///
/// Short waits do not spin, so that cases with hundreds of them do not hang.
fn spin_after_a_while(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
    let began = Instant::now();
    poll(honest, deadline, || {
        let pause = Duration::from_micros(500);
        if began.elapsed() < Duration::from_millis(4) {
            thread::sleep(pause);
            return;
        }
        let resumed = Instant::now();
        while resumed.elapsed() < 4 * pause {
            std::hint::spin_loop();
        }
    })
}

#[derive(Debug)]
struct SpinsWhileItWaits;

impl Fault for SpinsWhileItWaits {
    const NAME: &'static str = "runs-while-it-waits";
    const FAULT: &'static str = "Spins in a wait without a deadline";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("costs::a_wait_uses_no_processor", "while it waits in lock, a thread")];
    const RARE: &'static [Operation] = &[Operation::Wait];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if deadline == Deadline::Never { spin_after_a_while(honest, deadline) } else { honest.acquire(deadline) }
    }
}

#[derive(Debug)]
struct SpinsUntilTheDeadline;

impl Fault for SpinsUntilTheDeadline {
    const NAME: &'static str = "runs-while-it-waits-for-a-deadline";
    const FAULT: &'static str = "Spins in a wait with a deadline";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("costs::a_wait_with_a_deadline_uses_no_processor", "while it waits in lock_for, a thread")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if deadline == Deadline::Never { honest.acquire(deadline) } else { spin_after_a_while(honest, deadline) }
    }
}

#[derive(Debug)]
struct IsLate;

impl Fault for IsLate {
    const NAME: &'static str = "is-late-by-a-tenth";
    const FAULT: &'static str = "Times out up to 100 ms after the deadline";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("deadlines::threads::a_time_out_is_not_late", "time-outs of 1ms were late by"),
        ("deadlines::handles::a_time_out_is_not_late", "time-outs of 1ms were late by"),
        ("deadlines::mixed::a_time_out_is_not_late", "time-outs of 1ms were late by"),
        ("deadlines::processes::a_time_out_is_not_late", "time-outs of 1ms were late by"),
    ];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        // Shorter waits are on time, so that cases with thousands of them do not hang.
        let is_long = deadline.remaining().is_some_and(|left| left > Duration::from_micros(500));
        let acquired = honest.acquire(deadline)?;
        if acquired == Acquired::TimedOut && is_long {
            thread::sleep(Duration::from_millis(100));
        }
        Ok(acquired)
    }
}

#[derive(Debug)]
struct BacksOff;

impl Fault for BacksOff {
    const NAME: &'static str = "backs-off";
    const FAULT: &'static str = "Doubles the pause between two attempts up to 250 ms";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("waking::a_waiter_is_woken_soon_after_a_long_wait", "the waiter backs off"),
        ("waking::a_waiter_with_a_deadline_is_woken_soon_after_a_long_wait", "the waiter backs off"),
    ];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Wait, Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let mut pause = Duration::from_millis(1);
        poll(honest, deadline, || {
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
            pause = (pause * 2).min(Duration::from_millis(250));
        })
    }
}

const NOT_WOKEN: &str = "a release does not wake them";

#[derive(Debug)]
struct ChecksTenTimesASecond;

impl Fault for ChecksTenTimesASecond {
    const NAME: &'static str = "checks-ten-times-a-second";
    const FAULT: &'static str = "Polls a busy lock ten times a second, because a release does not wake waiters";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("waking::threads::a_waiter_is_woken_soon", NOT_WOKEN),
        ("waking::threads::a_waiter_with_a_deadline_is_woken_soon", NOT_WOKEN),
        ("waking::handles::a_waiter_is_woken_soon", NOT_WOKEN),
        ("waking::handles::a_waiter_with_a_deadline_is_woken_soon", NOT_WOKEN),
        ("waking::processes::a_waiter_is_woken_soon", NOT_WOKEN),
        ("waking::processes::a_waiter_with_a_deadline_is_woken_soon", NOT_WOKEN),
        ("waking::mixed::a_waiter_is_woken_soon", NOT_WOKEN),
        ("waking::mixed::a_waiter_with_a_deadline_is_woken_soon", NOT_WOKEN),
        ("waking::whoever_waits_is_woken", "watchdog"),
        ("waking::whoever_waits_with_a_deadline_is_woken", "watchdog"),
        ("waking::all_who_wait_are_woken_one_after_the_other", "watchdog"),
    ];
    const RARELY_CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("waking::threads::a_waiter_is_woken_soon", NOT_WOKEN),
        ("waking::handles::a_waiter_with_a_deadline_is_woken_soon", NOT_WOKEN),
        ("waking::processes::a_waiter_is_woken_soon", NOT_WOKEN),
        ("waking::mixed::a_waiter_is_woken_soon", NOT_WOKEN),
    ];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Wait, Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let pause = Duration::from_millis(100);
        poll(honest, deadline, || thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause))))
    }
}
