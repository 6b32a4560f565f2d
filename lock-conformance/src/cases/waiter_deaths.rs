//! A waiter that is killed, or gives up, delays no other thread for long.
//!
//! An order of waiters needs a mark or a place for each of them. What a dead waiter leaves behind must not keep others out.

use std::hint::spin_loop;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Contenders, cases};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};

cases! { "fairness";
    a_killed_waiter_delays_no_attempt [FAIRNESS PROCESSES];
    a_killed_waiter_delays_no_other_waiter [FAIRNESS PROCESSES];
    the_death_of_owner_and_waiter_delays_no_other [FAIRNESS PROCESSES RELEASED];
    a_waiter_that_timed_out_delays_no_other [FAIRNESS DEADLINES];
}

/// The number of attempts, with pauses, in which a free lock is acquired. A backend may keep it for a dead waiter for a bounded time.
fn attempts(fixture: &Fixture) -> u32 {
    if need::LOCAL.is_met(&fixture.suite) { 2_500 } else { 20_000 }
}

const PAUSE: Duration = Duration::from_millis(1);

/// Returns the numbers of the rounds, each with a waiter that is killed or times out.
///
/// There are fewer on a machine that is so busy that they take half of the time limit of the case.
fn rounds(fixture: &Fixture) -> impl Iterator<Item = u32> + use<> {
    let number = if need::LOCAL.is_met(&fixture.suite) { 24 } else { 3 };
    let end = fixture.half_time();
    (0..number).take_while(move |round| *round == 0 || Instant::now() < end)
}

/// The number of attempts on a lock that no other thread uses any more, and how many of them may find it busy.
const LATER: u32 = 20;
const BUSY: usize = 4;

/// Acquires the lock by attempts, and releases it. It stays easy to acquire afterwards.
fn is_acquired_by_attempts(fixture: &Fixture, thread: &Thread, lock: LockRef, why: &str) {
    let attempts = attempts(fixture);
    let mut acquired = (0..attempts).map(|attempt| {
        if attempt > 0 {
            sleep(PAUSE);
        }
        thread.try_lock(lock).is_some()
    });
    assert!(acquired.any(|acquired| acquired), "{thread} did not acquire the lock {lock} in {attempts} attempts, although {why}");
    thread.unlock(lock);
    let later = (0..LATER).filter(|_| {
        let acquired = thread.try_lock(lock).is_some();
        if acquired {
            thread.unlock(lock);
        }
        !acquired
    });
    let busy = later.count();
    assert!(
        busy <= BUSY,
        "{busy} of {LATER} attempts on the lock {lock} found it busy, although {why}, and no other thread used it"
    );
}

/// The moment at which a waiter is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// It is dead before the lock is released.
    Before,
    /// The signal is sent just before the release.
    JustBefore,
    /// The signal is sent while the lock is being released. The delay, in microseconds, varies.
    During(u32),
    /// The signal is sent as soon as the lock is released.
    JustAfter,
}

impl Moment {
    fn of(fixture: &Fixture, round: u32) -> Self {
        // A waiter that acquires the lock before it dies leaves it locked on a backend that does not notice deaths.
        let of = if need::RELEASED.is_met(&fixture.suite) { 4 } else { 2 };
        match round % of {
            0 => Self::Before,
            1 => Self::JustBefore,
            2 => Self::During(round * 7),
            _ => Self::JustAfter,
        }
    }
}

/// Releases the lock, and kills the waiter at this moment.
fn release_and_kill(fixture: &Fixture, owner: &Thread, lock: LockRef, waiter: &Thread, moment: Moment) {
    let kill = || waiter.process.signal(Signal::SIGKILL);
    match moment {
        Moment::Before => {
            fixture.kill(&waiter.process);
            return owner.unlock(lock);
        }
        Moment::JustBefore => {
            kill();
            owner.unlock(lock);
        }
        Moment::During(delay) => {
            let releasing = owner.start("unlock", &[&lock.to_string()]);
            let start = Instant::now();
            while start.elapsed() < Duration::from_micros(delay.into()) {
                spin_loop();
            }
            kill();
            releasing.done();
        }
        Moment::JustAfter => {
            owner.unlock(lock);
            kill();
        }
    }
    fixture.reap(&waiter.process);
}

/// Starts a process that waits for the lock for longer than the millisecond after which it is not overtaken any more.
fn starved(fixture: &Fixture, lock: LockRef) -> Thread {
    let waiter = fixture.peer();
    // The process is killed, so that its answer never comes.
    let waiting = waiter.start_lock(lock);
    waiting.waits("another process holds the lock");
    sleep(Duration::from_millis(2));
    waiter
}

fn a_killed_waiter_delays_no_attempt(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    for round in rounds(fixture) {
        owner.lock(lock);
        let waiter = starved(fixture, lock);
        release_and_kill(fixture, &owner, lock, &waiter, Moment::of(fixture, round));
        is_acquired_by_attempts(fixture, &other, lock, "the only waiter was killed");
    }
}

/// Two waiters are starved, and one of them is killed: the first or the second one.
fn a_killed_waiter_delays_no_other_waiter(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    for round in rounds(fixture) {
        owner.lock(lock);
        let other_first = || {
            let waiting = other.start_lock(lock);
            waiting.waits("another process holds the lock");
            waiting
        };
        let first = (round % 3 == 1).then(other_first);
        let killed = starved(fixture, lock);
        let waiting = first.unwrap_or_else(other_first);
        sleep(Duration::from_millis(2));
        release_and_kill(fixture, &owner, lock, &killed, Moment::of(fixture, round));
        waiting.granted();
        other.unlock(lock);
        is_acquired_by_attempts(fixture, &owner, lock, "one waiter was killed, and the other one has released the lock");
    }
}

/// The owner and a waiter are killed together, with and without another waiter.
fn the_death_of_owner_and_waiter_delays_no_other(fixture: &Fixture) {
    let (other, last) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    for round in rounds(fixture) {
        let owner = fixture.peer();
        owner.lock(lock);
        let killed = starved(fixture, lock);
        let waiting = (round % 2 == 1).then(|| {
            let waiting = other.start_lock(lock);
            waiting.waits("another process holds the lock");
            waiting
        });
        let mut victims = [&owner, &killed];
        if round % 4 < 2 {
            victims.reverse();
        }
        victims.iter().for_each(|victim| victim.process.signal(Signal::SIGKILL));
        victims.iter().for_each(|victim| fixture.reap(&victim.process));
        if let Some(waiting) = waiting {
            waiting.granted();
            other.unlock(lock);
        }
        is_acquired_by_attempts(fixture, &last, lock, "its owner and a waiter were killed");
    }
}

fn a_waiter_that_timed_out_delays_no_other(fixture: &Fixture) {
    let contenders = if need::PROCESSES.is_met(&fixture.suite) { Contenders::Processes } else { Contenders::Threads };
    let threads = contenders.start(fixture, 3);
    let (owner, waiter, other) = (&threads[0], &threads[1], &threads[2]);
    let lock = fixture.a_lock(owner);
    for round in rounds(fixture) {
        owner.lock(lock);
        let waited = waiter.lock_for(lock, Duration::from_millis(u64::from(3 + round % 4)));
        assert!(waited.is_err(), "{waiter} got the lock {lock}, although another thread holds it");
        owner.unlock(lock);
        is_acquired_by_attempts(fixture, other, lock, "the only waiter timed out");
    }
}
