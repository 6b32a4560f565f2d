//! Locks that last as long as a session with a server.

use nix::sys::signal::Signal;

use super::{Contenders, cases};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};

cases! { "sessions";
    a_held_lock_is_valid_for_some_time [SESSIONS];
    a_renewed_lock_stays_held [SESSIONS];
    a_released_lock_is_not_told_lost [SESSIONS];
    a_stopped_owner_loses_its_lock_and_learns_of_it [SESSIONS PROCESSES];
    a_stopped_process_loses_its_locks_and_learns_of_it [SESSIONS PROCESSES SEND];
    a_lock_without_a_session_has_no_limit_in_time [] unless SESSIONS;
}

/// Returns for how many milliseconds the thread surely holds the lock.
fn valid_for(thread: &Thread, lock: LockRef) -> u64 {
    let valid = thread.must("valid_for", &[&lock.to_string()]).find("milliseconds");
    valid.expect("a lock of a session has a limit in time, but its owner was told none")
}

fn is_told_lost(thread: &Thread, lock: LockRef) -> bool {
    thread.must("was_lost", &[&lock.to_string()]).has("lost")
}

fn a_held_lock_is_valid_for_some_time(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Threads.start_two(fixture);
    for thread in [&owner, &other, &owner] {
        thread.lock(lock);
        assert!(valid_for(thread, lock) > 0, "a lock was acquired that is valid for no time");
        thread.unlock(lock);
    }
}

/// The owner holds the lock for longer than it was valid at first.
fn a_renewed_lock_stays_held(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    let token = owner.lock(lock).token;
    owner.must("notice_loss", &[&lock.to_string()]);
    let at_first = valid_for(&owner, lock);
    let waiter = other.start_lock(lock);
    waiter.waits("the owner lives");
    let begin = std::time::Instant::now();
    fixture.wait_until("the first time is over", || begin.elapsed().as_millis() > u128::from(at_first));
    assert!(!waiter.has_answered(), "another owner got the lock, although the session of its owner was renewed");
    assert!(valid_for(&owner, lock) > 0, "the lock is not valid any more, although the session was renewed");
    assert!(!is_told_lost(&owner, lock), "the owner was told that it lost the lock, which it holds");
    owner.unlock(lock);
    assert!(waiter.granted().token > token, "the token of the next owner is not greater");
}

fn a_released_lock_is_not_told_lost(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    owner.lock(lock);
    owner.must("notice_loss", &[&lock.to_string()]);
    owner.unlock(lock);
    other.finds_free(lock, "it was released");
    assert!(!is_told_lost(&owner, lock), "the owner was told that it lost a lock, which it released");
}

fn a_stopped_owner_loses_its_lock_and_learns_of_it(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    let name = lock.to_string();
    let token = owner.lock(lock).token;
    owner.must("notice_loss", &[&name]);
    owner.process.stop();
    let next = other.lock(lock);
    assert!(next.token > token, "the token {} came after {token}", next.token);
    if need::REPORTED.is_met(&fixture.suite) {
        let dead = next.death.expect("the owner lost its session while it held the lock, but the next owner got no report");
        assert_eq!(dead.pid, owner.pid(), "another owner is reported");
    }
    owner.process.signal(Signal::SIGCONT);
    owner.refused("Lost", "valid_for", &[&name]);
    fixture.wait_until("the owner is told that it lost the lock", || is_told_lost(&owner, lock));
    owner.refused("Lost", "notice_loss", &[&name]);
    if need::GUARD_CHECKS.is_met(&fixture.suite) {
        owner.refused("Lost", "check_guard", &[&name]);
    }
    owner.refused("Lost", "unlock", &[&name]);
    fixture.peer().finds_busy(lock, "its owner holds it, and an earlier one tried to release it");
    other.unlock(lock);
    assert!(owner.lock(lock).token > next.token, "in another session the token is not greater");
}

fn a_stopped_process_loses_its_locks_and_learns_of_it(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Processes.start_two(fixture);
    let name = lock.to_string();
    owner.must("lock_send", &[&name]);
    owner.process.stop();
    other.lock(lock);
    owner.process.signal(Signal::SIGCONT);
    owner.refused("Lost", "unlock_send", &[&name]);
    fixture.peer().finds_busy(lock, "its owner holds it, and an earlier one tried to release it");
    other.unlock(lock);
    owner.must("lock_send", &[&name]);
    owner.must("unlock_send", &[&name]);
}

fn a_lock_without_a_session_has_no_limit_in_time(fixture: &Fixture) {
    let (owner, other, lock) = Contenders::Threads.start_two(fixture);
    owner.lock(lock);
    let name = lock.to_string();
    let valid: Option<u64> = owner.must("valid_for", &[&name]).find("milliseconds");
    assert_eq!(valid, None, "the lock has a limit in time, although the backend claims that it holds always");
    owner.refused("Unsupported", "notice_loss", &[&name]);
    other.finds_busy(lock, "only the notice was refused");
    owner.unlock(lock);
}
