//! A lock whose owner ends: by a signal, `exit`, `abort` or `exec`, or because its thread ends.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{cases, finds_free_after_waiters, with_capacity};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{Grant, LockRef, Pending, Thread};

cases! { "owner_death";
    kill_9_frees_the_lock [PROCESSES RELEASED];
    exit_frees_the_lock [PROCESSES RELEASED];
    abort_frees_the_lock [PROCESSES RELEASED];
    exec_by_the_main_thread_frees_the_lock [PROCESSES RELEASED];
    exec_by_another_thread_frees_the_lock [PROCESSES RELEASED];
    exec_frees_the_locks_of_all_threads [PROCESSES RELEASED];
    death_frees_all_locks_of_the_owner [PROCESSES RELEASED NUMBERED];
    death_frees_more_locks_than_the_kernel_walks [PROCESSES RELEASED NUMBERED CHOSEN];
    a_waiter_gets_the_lock_of_the_dead [PROCESSES RELEASED];
    a_death_is_reported_to_one_of_its_waiters [PROCESSES REPORTED];
    a_death_is_told_once_only [PROCESSES REPORTED] unless LASTING_REPORTS;
    a_clean_release_tells_nothing [PROCESSES];
    the_death_of_who_holds_nothing_tells_nothing [PROCESSES];
    the_death_of_a_waiter_disturbs_nobody [PROCESSES];
    a_woken_waiter_that_is_killed_passes_the_lock_on [PROCESSES RELEASED];
    a_stopped_waiter_that_is_killed_passes_the_lock_on [PROCESSES RELEASED];
    a_chain_of_deaths_is_told_link_by_link [PROCESSES RELEASED];
    a_stopped_holder_keeps_the_lock [PROCESSES WITHOUT_SESSION];
    a_stopped_holder_is_named [PROCESSES DEADLINES HOLDERS];
    a_thread_that_ends_frees_its_lock [THREAD_DEATH];
    a_waiter_gets_the_lock_of_a_thread_that_ended [THREAD_DEATH];
    a_thread_that_ends_keeps_its_lock_while_its_process_lives [] unless THREAD_DEATH;
    an_old_death_is_not_told_of_other_locks [PROCESSES RELEASED NUMBERED];
    a_stuck_lock_stays_locked_after_a_death [PROCESSES] unless RELEASED;
}

/// Starts a process that holds the lock, and another one.
fn owner_and_other(fixture: &Fixture) -> (Thread, Thread, LockRef) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    owner.lock(lock);
    other.finds_busy(lock, "its owner lives");
    (owner, other, lock)
}

/// Asserts that the lock of the dead process is free, and that a claimed report is made.
fn free_after_death(fixture: &Fixture, other: &Thread, lock: LockRef, dead: u32) {
    let grant = other.lock(lock);
    reports_death_of(fixture, &grant, dead);
    other.unlock(lock);
}

/// Asserts that the guard names the dead process, if the backend claims to report deaths.
pub(super) fn reports_death_of(fixture: &Fixture, grant: &Grant, dead: u32) {
    if !need::REPORTED.is_met(&fixture.suite) {
        return;
    }
    let told = grant
        .death
        .as_ref()
        .unwrap_or_else(|| panic!("process {dead} died holding the lock, but the next owner received no report"));
    assert_eq!(told.pid, dead, "process {dead} died, but the death of another process was reported");
}

fn kill_9_frees_the_lock(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    fixture.kill(&owner.process);
    free_after_death(fixture, &other, lock, owner.pid());
}

fn exit_frees_the_lock(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let _never = owner.start("exit", &[]);
    fixture.reap(&owner.process);
    free_after_death(fixture, &other, lock, owner.pid());
}

fn abort_frees_the_lock(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let _never = owner.start("abort", &[]);
    fixture.reap(&owner.process);
    free_after_death(fixture, &other, lock, owner.pid());
}

fn exec_by_the_main_thread_frees_the_lock(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let after = fixture.exec(&owner);
    assert_eq!(after.pid(), owner.pid(), "exec keeps the process");
    free_after_death(fixture, &other, lock, owner.pid());
    after.must("ping", &[]);
}

fn exec_by_another_thread_frees_the_lock(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let thread = owner.process.thread("t1");
    let lock = fixture.a_lock(&other);
    thread.lock(lock);
    fixture.exec(&thread);
    free_after_death(fixture, &other, lock, owner.pid());
}

fn exec_frees_the_locks_of_all_threads(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let (holder, caller) = (owner.process.thread("t1"), owner.process.thread("t2"));
    let lock = fixture.a_lock(&other);
    holder.lock(lock);
    fixture.exec(&caller);
    free_after_death(fixture, &other, lock, owner.pid());
}

fn death_frees_all_locks_of_the_owner(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let locks: Vec<_> = (0..8).map(|_| LockRef::Number(other.allocate(""))).collect();
    for (n, lock) in locks.iter().enumerate() {
        owner.process.thread(&format!("t{}", n % 3)).lock(*lock);
    }
    fixture.kill(&owner.process);
    locks.iter().for_each(|lock| free_after_death(fixture, &other, *lock, owner.pid()));
}

/// The kernel walks 2,048 robust locks of a dying thread.
///
/// A peer that cannot hold 5,000 locks is tested with those that it holds.
fn death_frees_more_locks_than_the_kernel_walks(fixture: &Fixture) {
    let url = with_capacity(fixture, "5100");
    let (owner, other) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let held: u32 = owner.must("lock_range", &["5000"]).get("held");
    assert!(held > 0, "the owner could not acquire any lock");
    fixture.kill(&owner.process);
    for id in [0, 1, 2047, 2048, 2951, 2952, held - 1].into_iter().filter(|id| *id < held) {
        free_after_death(fixture, &other, LockRef::Number(id), owner.pid());
    }
}

fn a_waiter_gets_the_lock_of_the_dead(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let waiter = other.start_lock(lock);
    waiter.waits("the owner lives");
    fixture.kill(&owner.process);
    reports_death_of(fixture, &waiter.granted(), owner.pid());
}

/// Number of owners that die while threads of two processes wait.
const DEATHS: u32 = 28;
/// Number of waiting threads in each process.
const WAITERS: usize = 4;

/// The first waiter marks the lock consistent, so that the later ones receive no report.
fn a_death_is_reported_to_one_of_its_waiters(fixture: &Fixture) {
    let processes = [fixture.peer(), fixture.peer()];
    let lock = fixture.a_lock(&processes[0]);
    let threads = processes.iter().flat_map(|thread| (0..WAITERS).map(|n| thread.process.thread(&format!("t{n}"))));
    let threads: Vec<_> = threads.collect();
    for _ in 0..DEATHS {
        let owner = fixture.peer();
        owner.lock(lock);
        let mut waiting: Vec<_> = threads.iter().map(|thread| thread.start_lock(lock)).collect();
        waiting.iter().for_each(|waiter| _ = waiter.begun());
        waiting[0].waits("the owner lives");
        fixture.kill(&owner.process);
        let mut told = Vec::new();
        while !waiting.is_empty() {
            fixture.wait_until("a waiter acquires the lock of the dead process", || waiting.iter().any(Pending::has_answered));
            let next = waiting.iter().position(Pending::has_answered).expect("a waiter has answered");
            let waiter = waiting.swap_remove(next);
            let thread = waiter.thread().clone();
            told.push(waiter.granted().death.map(|death| death.pid));
            thread.mark_consistent(lock);
            thread.unlock(lock);
        }
        let (first, later) = told.split_first().expect("there are several waiters");
        assert_eq!(
            *first,
            Some(owner.pid()),
            "process {} died, but the first waiter received another report or none",
            owner.pid()
        );
        assert!(
            later.iter().all(Option::is_none),
            "the first waiter dealt with the death, and it is reported to a later one, too: {later:?}"
        );
    }
}

fn a_death_is_told_once_only(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    fixture.kill(&owner.process);
    free_after_death(fixture, &other, lock, owner.pid());
    let again = other.finds_free(lock, "it was released");
    assert!(again.death.is_none(), "the death was reported to a second owner");
    let third = fixture.peer().finds_free(lock, "it was released");
    assert!(third.death.is_none(), "the death was reported again in another process");
}

fn a_clean_release_tells_nothing(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    owner.unlock(lock);
    fixture.kill(&owner.process);
    let grant = other.finds_free(lock, "it was released before its owner died");
    assert!(grant.death.is_none(), "the owner released the lock before its death, but a death was reported");
}

fn the_death_of_who_holds_nothing_tells_nothing(fixture: &Fixture) {
    let (bystander, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    other.lock(lock);
    bystander.finds_busy(lock, "another thread holds it");
    fixture.kill(&bystander.process);
    other.unlock(lock);
    assert!(
        fixture.peer().finds_free(lock, "it was released").death.is_none(),
        "the process that died held no lock, but its death was reported"
    );
}

fn the_death_of_a_waiter_disturbs_nobody(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let victim = fixture.peer();
    let first = victim.start_lock(lock);
    first.waits("the owner lives");
    let second = other.start_lock(lock);
    second.waits("the owner lives");
    fixture.kill(&victim.process);
    second.waits("the owner lives, and the process that died was a waiter");
    owner.unlock(lock);
    let grant = second.granted();
    assert!(grant.death.is_none(), "only a waiter died, but a death was reported");
    other.unlock(lock);
    finds_free_after_waiters(fixture, &owner, lock, "it was released");
}

/// The waiter is killed while it is being woken: before, during, or after its acquisition.
fn a_woken_waiter_that_is_killed_passes_the_lock_on(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    for _ in 0..10 * crate::fixture::scale() {
        let victim = fixture.peer();
        owner.lock(lock);
        let first = victim.start_lock(lock);
        first.waits("the owner lives");
        let second = other.start_lock(lock);
        second.waits("the owner lives");
        let released = owner.start("unlock", &[&lock.to_string()]);
        fixture.kill(&victim.process);
        released.done();
        let grant = second.granted();
        if let Some(death) = &grant.death {
            assert_eq!(death.pid, victim.pid(), "the death of a live process was reported");
        }
        other.mark_consistent(lock);
        other.unlock(lock);
    }
}

/// A stopped waiter cannot wake another one. The kernel or the other waiters have to notice its death.
fn a_stopped_waiter_that_is_killed_passes_the_lock_on(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let victim = fixture.peer();
    let first = victim.start_lock(lock);
    first.waits("the owner lives");
    let second = other.start_lock(lock);
    second.waits("the owner lives");
    victim.process.stop();
    owner.unlock(lock);
    fixture.kill(&victim.process);
    second.granted();
}

fn a_chain_of_deaths_is_told_link_by_link(fixture: &Fixture) {
    let last = fixture.peer();
    let lock = fixture.a_lock(&last);
    let mut dead = None;
    for _ in 0..4 {
        let owner = fixture.peer();
        let grant = owner.lock(lock);
        match dead {
            Some(dead) => reports_death_of(fixture, &grant, dead),
            None => assert!(grant.death.is_none(), "no owner has died yet, but a death was reported"),
        }
        fixture.kill(&owner.process);
        dead = Some(owner.pid());
    }
    reports_death_of(fixture, &last.lock(lock), dead.expect("four owners died"));
    last.mark_consistent(lock);
    last.unlock(lock);
    assert!(last.finds_free(lock, "it was released").death.is_none(), "a death was reported again");
}

fn a_stopped_holder_keeps_the_lock(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    owner.process.stop();
    other.finds_busy(lock, "its owner is stopped, not dead");
    let waiter = other.start_lock(lock);
    waiter.waits("the owner is stopped, not dead");
    owner.process.signal(Signal::SIGCONT);
    owner.unlock(lock);
    assert!(waiter.granted().death.is_none(), "no owner died, but a death was reported");
}

fn a_stopped_holder_is_named(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    owner.process.stop();
    let refusal = other.lock_for(lock, Duration::from_millis(1)).expect_err("its owner is stopped, not dead");
    assert_eq!((refusal.kind.as_str(), refusal.fields.find("pid")), ("TimedOut", Some(owner.pid())), "{refusal}");
    let named: Option<u32> = other.must("holder", &[&lock.to_string()]).find("pid");
    assert_eq!(named, Some(owner.pid()), "the stopped holder is not named");
}

fn a_thread_that_ends_frees_its_lock(fixture: &Fixture) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    let thread = process.process.thread("t1");
    thread.lock(lock);
    let tid = thread.must("end", &[]).get("tid");
    process.process.wait_for_end_of(tid);
    let grant = process.lock(lock);
    let told =
        grant.death.unwrap_or_else(|| panic!("thread {tid} ended holding the lock, but the next owner received no report"));
    assert_eq!((told.pid, told.tid), (process.pid(), tid), "thread {tid} ended, but another one was named");
    process.unlock(lock);
}

fn a_waiter_gets_the_lock_of_a_thread_that_ended(fixture: &Fixture) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    let thread = process.process.thread("t1");
    thread.lock(lock);
    let waiter = process.start_lock(lock);
    waiter.waits("the owner lives");
    let tid = thread.must("end", &[]).get("tid");
    let told = waiter.granted().death.map(|death| (death.pid, death.tid));
    assert_eq!(told, Some((process.pid(), tid)), "the report does not name the thread that ended while it held the lock");
}

fn a_thread_that_ends_keeps_its_lock_while_its_process_lives(fixture: &Fixture) {
    let process = fixture.peer();
    let lock = fixture.a_lock(&process);
    let thread = process.process.thread("t1");
    thread.lock(lock);
    let tid = thread.must("end", &[]).get("tid");
    process.process.wait_for_end_of(tid);
    process.finds_busy(lock, "the backend claims that the end of a thread does not release its lock");
}

fn an_old_death_is_not_told_of_other_locks(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    let second = LockRef::Number(other.allocate(""));
    owner.lock(second);
    owner.unlock(second);
    fixture.kill(&owner.process);
    assert!(other.finds_free(second, "it was released").death.is_none(), "the death of the owner of another lock was reported");
    free_after_death(fixture, &other, lock, owner.pid());
}

fn a_stuck_lock_stays_locked_after_a_death(fixture: &Fixture) {
    let (owner, other, lock) = owner_and_other(fixture);
    fixture.kill(&owner.process);
    other.finds_busy(lock, "its owner died, which is claimed to leave it locked");
}
