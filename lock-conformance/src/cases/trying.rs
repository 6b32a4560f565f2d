//! Deaths that backends detect by checking the owner.
//!
//! Callers that only try the lock have to recover them as waiters do.

use std::thread::sleep;
use std::time::Duration;

use super::keeping::{reports_death_of, reports_no_death};
use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::process::{Grant, LockRef, Thread};

cases! { "owner_death";
    trying_recovers_a_lock_after_exec_by_another_thread [PROCESSES RELEASED];
    trying_recovers_more_locks_of_a_process_than_the_kernel_walks [PROCESSES RELEASED NUMBERED CHOSEN];
    trying_recovers_more_locks_of_a_thread_than_the_kernel_walks [PROCESSES THREAD_DEATH NUMBERED CHOSEN];
}

/// Number of attempts on a lock, with pauses. A backend need not check the owner in each attempt.
const ATTEMPTS: u32 = 2500;
const PAUSE: Duration = Duration::from_millis(1);

/// Number of locks, more than the 2,048 that the kernel walks when a thread dies.
pub(super) const MANY: u32 = 3000;

/// Tries the lock until an attempt succeeds, without waiting for it.
fn recovered_by_trying(thread: &Thread, lock: LockRef) -> Grant {
    for _ in 0..ATTEMPTS {
        if let Some(grant) = thread.try_lock(lock) {
            return grant;
        }
        sleep(PAUSE);
    }
    panic!("{thread} did not recover the lock {lock} in {ATTEMPTS} attempts, although its owner died");
}

fn is_recovered_by_trying(fixture: &Fixture, thread: &Thread, lock: LockRef, dead: u32) {
    reports_death_of(fixture, &recovered_by_trying(thread, lock), dead);
    thread.mark_consistent(lock);
    thread.unlock(lock);
    reports_no_death(&thread.finds_free(lock, "it was released"));
}

/// Returns some of the locks with ids below `held`, in the order of their acquisition.
fn some_of(held: u32) -> impl Iterator<Item = LockRef> {
    [0, 1, held / 2, held.saturating_sub(2), held - 1].into_iter().map(LockRef::Number)
}

fn trying_recovers_a_lock_after_exec_by_another_thread(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let thread = owner.process.thread("t1");
    let lock = fixture.a_lock(&other);
    thread.lock(lock);
    let after = fixture.exec(&thread);
    is_recovered_by_trying(fixture, &other, lock, owner.pid());
    after.must("ping", &[]);
}

fn trying_recovers_more_locks_of_a_process_than_the_kernel_walks(fixture: &Fixture) {
    let url = with_capacity(fixture, &(MANY + 100).to_string());
    let (owner, other) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let held: u32 = owner.must("lock_range", &["0", &MANY.to_string()]).get("held");
    fixture.kill(&owner.process);
    for lock in some_of(held) {
        is_recovered_by_trying(fixture, &other, lock, owner.pid());
    }
}

fn trying_recovers_more_locks_of_a_thread_than_the_kernel_walks(fixture: &Fixture) {
    let main = fixture.peer_with(&with_capacity(fixture, &(MANY + 100).to_string()));
    let owner = main.process.thread("t1");
    let held: u32 = owner.must("lock_range", &["0", &MANY.to_string()]).get("held");
    let tid = owner.must("end", &[]).get("tid");
    main.process.wait_for_end_of(tid);
    for lock in some_of(held) {
        is_recovered_by_trying(fixture, &main, lock, main.pid());
    }
}
