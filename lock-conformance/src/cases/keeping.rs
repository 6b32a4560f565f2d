//! Checks that a live owner keeps its lock and that the lock of a dead owner is recovered.

use std::time::Duration;

use super::finds_free_after_waiters;
use crate::fixture::Fixture;
use crate::need;
use crate::process::{Grant, LockRef, Pending, Thread, grant};
use crate::protocol::Refusal;

/// Longer than the interval at which a waiter checks the owner.
///
/// The interval is 200 ms in the backends of this repository.
pub(super) const LONGER_THAN_A_CHECK: Duration = Duration::from_millis(350);

/// Asserts that two threads exclude each other and release their locks without an error.
///
/// `a` holds the lock already. Where locks have numbers, both wait at the same time, on a lock each.
pub(super) fn each_keeps_its_lock(fixture: &Fixture, a: &Thread, b: &Thread, lock: LockRef) {
    if !need::DEADLINES.is_met(&fixture.suite) || !need::NUMBERED.is_met(&fixture.suite) {
        keeps_its_lock(fixture, a, b, lock);
        b.lock(lock);
        return keeps_its_lock(fixture, b, a, lock);
    }
    let second = LockRef::Number(a.allocate(""));
    b.finds_busy(lock, "its owner lives");
    b.lock(second);
    a.finds_busy(second, "its owner lives");
    let waits = [Wait::start(b, lock), Wait::start(a, second)];
    waits.into_iter().for_each(Wait::times_out);
    is_released(fixture, a, b, lock);
    is_released(fixture, b, a, second);
}

/// Asserts that the owner excludes the other thread and releases the lock without an error.
pub(super) fn keeps_its_lock(fixture: &Fixture, owner: &Thread, other: &Thread, lock: LockRef) {
    other.finds_busy(lock, "its owner lives");
    if need::DEADLINES.is_met(&fixture.suite) {
        Wait::start(other, lock).times_out();
        return is_released(fixture, owner, other, lock);
    }
    let waiter = other.start_lock(lock);
    waiter.waits("the owner lives");
    owner.unlock(lock);
    reports_no_death(&waiter.granted());
    other.unlock(lock);
}

/// Asserts that the owner can release the lock, and that the other thread then gets no report.
fn is_released(fixture: &Fixture, owner: &Thread, other: &Thread, lock: LockRef) {
    owner.unlock(lock);
    reports_no_death(&finds_free_after_waiters(fixture, other, lock, "its owner released it"));
}

/// Asserts that the grant reports no death.
pub(super) fn reports_no_death(grant: &Grant) {
    assert!(grant.death.is_none(), "a death was reported, although no owner died");
}

/// Tries the lock. Returns `None` if the attempt fails with an error of these kinds.
pub(super) fn attempt(thread: &Thread, lock: LockRef, refusals: &[&str]) -> Option<Option<Grant>> {
    match thread.ask("try_lock", &[&lock.to_string()]) {
        Ok(fields) => Some(grant(&fields)),
        Err(refusal) => {
            is_one_of(&refusal, refusals);
            None
        }
    }
}

/// Asserts that the thread does not acquire a lock that another thread holds.
///
/// The lock is busy, or the attempt fails with an error of the given kinds.
pub(super) fn is_excluded_or_refused(thread: &Thread, lock: LockRef, refusals: &[&str]) {
    let Some(granted) = attempt(thread, lock, refusals) else { return };
    assert!(granted.is_none(), "{thread} acquired the lock {lock}, although its owner lives");
    match thread.lock_for(lock, LONGER_THAN_A_CHECK) {
        Ok(_) => panic!("{thread} acquired the lock {lock} of a live owner"),
        Err(refusal) if matches!(refusal.kind.as_str(), "TimedOut" | "Unsupported") => {}
        Err(refusal) => is_one_of(&refusal, refusals),
    }
}

fn is_one_of(refusal: &Refusal, kinds: &[&str]) {
    assert!(kinds.contains(&refusal.kind.as_str()), "a thread was refused with another error than {kinds:?}: {refusal}");
}

/// Kills the owner, and asserts that the waiter acquires the lock and receives the only report.
pub(super) fn is_recovered(fixture: &Fixture, owner: &Thread, waiter: &Thread, lock: LockRef) {
    let pending = waiter.start_lock(lock);
    pending.waits("the owner lives");
    fixture.kill(&owner.process);
    reports_death_of(fixture, &pending.granted(), owner.process.own_pid());
    waiter.mark_consistent(lock);
    waiter.unlock(lock);
    let again = waiter.finds_free(lock, "it was released");
    assert!(again.death.is_none(), "the death was reported to a second owner");
}

/// Asserts that the grant names the dead process by the pid in its own namespace.
///
/// Does nothing if the backend does not claim to report deaths.
pub(super) fn reports_death_of(fixture: &Fixture, grant: &Grant, dead: u32) {
    if need::REPORTED.is_met(&fixture.suite) {
        let told = grant.death.as_ref().expect("an owner died, but its death was not reported to the next owner");
        assert_eq!(told.pid, dead, "process {dead} died, but the death of another one was reported");
    }
}

/// A wait that has to end by its deadline.
struct Wait {
    waiter: Thread,
    lock: LockRef,
    pending: Pending,
}

impl Wait {
    fn start(waiter: &Thread, lock: LockRef) -> Self {
        let pending = waiter.start("lock_for", &[&lock.to_string(), &LONGER_THAN_A_CHECK.as_nanos().to_string()]);
        Self { waiter: waiter.clone(), lock, pending }
    }

    fn times_out(self) {
        let (waiter, lock) = (self.waiter, self.lock);
        match self.pending.outcome() {
            Ok(_) => panic!("{waiter} acquired the lock {lock} of a live owner"),
            Err(refusal) => assert_eq!(refusal.kind, "TimedOut", "a wait ended with an unexpected error: {refusal}"),
        }
    }
}
