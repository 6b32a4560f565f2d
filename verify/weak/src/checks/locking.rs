//! Checks of one lock that threads acquire and release.

use std::time::Duration;

use super::run;
use crate::lock::ShmLock;
use crate::member::Kind::{self, AtHome, Foreign, WithoutBarriers};
use crate::sys::{self, Protected};
use crate::table::Table;
use crate::{Acquired, Condition, Deadline, OwnerKind, Proof, RawLock};

/// The protected data.
#[derive(Debug, Default)]
struct Data {
    sections: u64,
    /// Whether a thread died in its critical section, and the data has not been repaired since.
    is_dirty: bool,
    token: u64,
}

/// The end of a thread's last critical section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Releases,
    /// The thread is killed.
    Dies,
    /// The thread ends, and its process lives on.
    Ends,
    /// The thread panics.
    Panics,
}

fn acquire(lock: &ShmLock, owner: OwnerKind, deadline: Deadline) -> Acquired {
    if owner == OwnerKind::Process {
        return lock.acquire_for_process(deadline).unwrap();
    }
    match lock.try_acquire_fast() {
        Some(token) => Acquired::Held { token },
        None => lock.acquire(deadline).unwrap(),
    }
}

/// Enters the critical section `times` times, and checks the protected data. Every second thread marks the lock consistent.
fn work(table: &'static Table, number: usize, data: &Protected<Data>, times: u64, last: Last, deadline: fn() -> Deadline) {
    work_as(|_| OwnerKind::Thread, table, number, data, times, last, deadline);
}

/// As [`work`], for the thread or its process: `owner` gets the number of the critical section.
fn work_as(
    owner: fn(u64) -> OwnerKind,
    table: &'static Table,
    number: usize,
    data: &Protected<Data>,
    times: u64,
    last: Last,
    deadline: fn() -> Deadline,
) {
    let lock = ShmLock::new(table.slot());
    for time in 1..=times {
        let (token, reported) = match acquire(&lock, owner(time), deadline()) {
            Acquired::Held { token } => (token, false),
            Acquired::Recovered(recovery) => (recovery.token, true),
            Acquired::TimedOut => continue,
        };
        let mut condition = if reported { Condition::Inconsistent } else { Condition::Consistent };
        data.with(|data| {
            assert_eq!(reported, data.is_dirty, "thread {number}");
            assert!(token > data.token, "token {token} follows {}", data.token);
            data.token = token;
            data.sections += 1;
        });
        if reported && number.is_multiple_of(2) {
            data.with(|data| data.is_dirty = false);
            lock.mark_consistent(owner(time), None).unwrap();
            condition = Condition::Consistent;
        }
        if time == times && last != Last::Releases {
            data.with(|data| data.is_dirty = true);
            match last {
                Last::Dies => {
                    sys::walk_list();
                    return table.leave();
                }
                Last::Ends => {
                    sys::end_thread();
                    return sys::walk_list();
                }
                _ => condition = Condition::Panicked,
            }
        }
        lock.release(Proof(owner(time), condition)).unwrap();
    }
}

/// Runs threads of these kinds. The first ends its last critical section as `last`.
fn check(kinds: &[Kind], times: u64, last: Last) {
    let data = Protected::<Data>::default();
    run(kinds, |table, number| {
        let last = if number == 0 { last } else { Last::Releases };
        work(table, number, &data, times, last, || Deadline::Never);
    });
    assert_eq!(data.with(|data| data.sections), kinds.len() as u64 * times);
}

/// Checks two threads at home.
///
/// # Panics
/// When something is wrong.
pub fn two_at_home() {
    check(&[AtHome, AtHome], 6, Last::Releases);
}

/// Checks a thread of each kind.
///
/// # Panics
/// When something is wrong.
pub fn three_of_different_kinds() {
    check(&[AtHome, Foreign, WithoutBarriers], 4, Last::Releases);
}

/// Checks two threads outside the PID namespace of the store's creator.
///
/// # Panics
/// When something is wrong.
pub fn two_foreign() {
    check(&[Foreign, Foreign], 4, Last::Releases);
}

/// Checks threads that acquire the lock for themselves and for their processes.
///
/// # Panics
/// When something is wrong.
pub fn threads_and_processes() {
    let data = Protected::<Data>::default();
    let kinds = [AtHome, AtHome, Foreign];
    run(&kinds, |table, number| {
        let owner: fn(u64) -> OwnerKind = match number {
            0 => |_| OwnerKind::Process,
            _ => |time| if time.is_multiple_of(2) { OwnerKind::Process } else { OwnerKind::Thread },
        };
        work_as(owner, table, number, &data, 4, Last::Releases, || Deadline::Never);
    });
    assert_eq!(data.with(|data| data.sections), 12);
}

/// Checks the death of a thread at home in its critical section.
///
/// # Panics
/// When something is wrong.
pub fn a_death_at_home() {
    check(&[AtHome, AtHome, Foreign], 3, Last::Dies);
}

/// Checks the death of a foreign thread in its critical section.
///
/// # Panics
/// When something is wrong.
pub fn a_foreign_death() {
    check(&[Foreign, AtHome, Foreign], 3, Last::Dies);
}

/// Checks the end of a foreign thread in its critical section while its process lives on.
///
/// # Panics
/// When something is wrong.
pub fn an_end_of_a_foreign_thread() {
    check(&[Foreign, Foreign, AtHome], 3, Last::Ends);
}

/// Checks a panic in a critical section.
///
/// # Panics
/// When something is wrong.
pub fn a_panic() {
    check(&[AtHome, Foreign], 3, Last::Panics);
}

/// Checks acquisitions with a deadline and without waiting, while another thread dies in its critical section.
///
/// # Panics
/// When something is wrong.
pub fn attempts_that_do_not_wait_long() {
    let data = Protected::<Data>::default();
    run(&[AtHome, Foreign, AtHome], |table, number| {
        let deadline: fn() -> Deadline = match number {
            0 => || Deadline::Never,
            1 => || Deadline::after(Duration::from_micros(50)),
            _ => || Deadline::Now,
        };
        let last = if number == 0 { Last::Dies } else { Last::Releases };
        work(table, number, &data, 4, last, deadline);
    });
    assert!(data.with(|data| data.sections) >= 4);
}
