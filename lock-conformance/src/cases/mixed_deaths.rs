//! Deaths of processes with several threads that share a lock with the threads of another process.

use super::owner_death::reports_death_of;
use super::{Contenders, cases_for_mixed, finds_free_after_waiters};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{Grant, LockRef, Pending, Thread};

cases_for_mixed! { "owner_death";
    a_killed_process_frees_the_lock_to_one_waiting_thread_at_a_time [RELEASED];
    the_death_of_waiting_threads_leaves_the_owner_alone [];
    a_lock_that_is_released_while_waiting_threads_are_killed_is_passed_on [RELEASED];
    a_chain_of_dead_processes_with_waiting_threads_is_reported_link_by_link [RELEASED];
    a_thread_that_ends_frees_the_lock_to_its_process_and_to_another [THREAD_DEATH];
}

/// Waits until one of the waiters acquires the lock, and removes it from the list.
fn next_owner(fixture: &Fixture, waiting: &mut Vec<Pending>) -> (Thread, Grant) {
    fixture.wait_until("a waiting thread acquires the lock of the dead process", || waiting.iter().any(Pending::has_answered));
    let next = waiting.iter().position(Pending::has_answered).expect("a waiter has answered");
    let waiter = waiting.swap_remove(next);
    (waiter.thread().clone(), waiter.granted())
}

/// Starts a wait for the lock in each thread, and returns when all threads wait.
fn all_wait(threads: &[&Thread], lock: LockRef, why: &str) -> Vec<Pending> {
    let waiting: Vec<_> = threads.iter().map(|thread| thread.start_lock(lock)).collect();
    waiting.iter().for_each(|waiter| waiter.waits(why));
    waiting
}

/// Asserts that the guard reports no death. `why` says what happened instead.
fn reports_nothing(grant: &Grant, why: &str) {
    assert!(grant.death.is_none(), "{why}, but a death is reported: {:?}", grant.death);
}

fn a_killed_process_frees_the_lock_to_one_waiting_thread_at_a_time(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 5);
    let (owner, sibling) = (&threads[1], &threads[3]);
    let lock = fixture.a_lock(&threads[0]);
    owner.lock(lock);
    let tid = owner.tid();
    let _dies = all_wait(&[sibling], lock, "another thread of the process holds the lock");
    let mut waiting = all_wait(&[&threads[0], &threads[2], &threads[4]], lock, "a thread of another process holds the lock");
    fixture.kill(&owner.process);
    let (first, grant) = next_owner(fixture, &mut waiting);
    reports_death_of(fixture, &grant, owner.pid());
    if let Some(death) = &grant.death {
        let is_owner = [0, tid].contains(&death.tid);
        assert!(is_owner, "thread {tid} of the dead process held the lock, but the report names thread {}", death.tid);
    }
    waiting.iter().for_each(|waiter| waiter.waits("a thread of the same process acquired the lock of the dead process"));
    first.mark_consistent(lock);
    first.unlock(lock);
    while !waiting.is_empty() {
        let (next, grant) = next_owner(fixture, &mut waiting);
        reports_nothing(&grant, "another thread of the same process marked the lock consistent");
        waiting.iter().for_each(|waiter| waiter.waits("another thread of the same process holds the lock"));
        next.unlock(lock);
    }
}

fn the_death_of_waiting_threads_leaves_the_owner_alone(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 4);
    let (owner, sibling) = (&threads[0], &threads[2]);
    let lock = fixture.a_lock(owner);
    owner.lock(lock);
    let mut survivor = all_wait(&[sibling], lock, "another thread of the process holds the lock");
    let _die = all_wait(&[&threads[1], &threads[3]], lock, "a thread of another process holds the lock");
    fixture.kill(&threads[1].process);
    survivor[0].waits("the owner lives, and only waiting threads of another process died");
    owner.process.thread("beside").finds_busy(lock, "only waiting threads of another process died");
    fixture.peer().finds_busy(lock, "only waiting threads of another process died");
    owner.unlock(lock);
    let (next, grant) = next_owner(fixture, &mut survivor);
    reports_nothing(&grant, "only waiting threads died");
    next.unlock(lock);
    let last = finds_free_after_waiters(fixture, &fixture.peer(), lock, "it was released");
    reports_nothing(&last, "only waiting threads died");
}

/// One of the killed threads may be the one that the release woke.
fn a_lock_that_is_released_while_waiting_threads_are_killed_is_passed_on(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 3);
    let (owner, sibling) = (&threads[0], &threads[2]);
    let lock = fixture.a_lock(owner);
    for _ in 0..8 * scale() {
        let killed = fixture.peer();
        owner.lock(lock);
        let _die = all_wait(&[&killed, &killed.process.thread("t1")], lock, "a thread of another process holds the lock");
        let mut survivor = all_wait(&[sibling], lock, "another thread of the process holds the lock");
        let released = owner.start("unlock", &[&lock.to_string()]);
        fixture.kill(&killed.process);
        released.done();
        let (next, grant) = next_owner(fixture, &mut survivor);
        if let Some(death) = &grant.death {
            assert_eq!(death.pid, killed.pid(), "the death of a live process is reported");
        }
        next.mark_consistent(lock);
        next.unlock(lock);
    }
}

fn a_chain_of_dead_processes_with_waiting_threads_is_reported_link_by_link(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 4);
    let lock = fixture.a_lock(&threads[0]);
    let mut waiting = vec![threads[1].start_lock(lock)];
    let mut dead = None;
    for _ in 0..4 {
        let (owner, grant) = next_owner(fixture, &mut waiting);
        match dead {
            Some(dead) => reports_death_of(fixture, &grant, dead),
            None => reports_nothing(&grant, "no process died"),
        }
        // The other threads of the owner's process die with it.
        waiting.push(owner.process.thread("sibling").start_lock(lock));
        waiting.iter().for_each(|waiter| waiter.waits("another thread of the process holds the lock"));
        let next = fixture.peer();
        waiting = all_wait(&[&next, &next.process.thread("t1")], lock, "a thread of another process holds the lock");
        fixture.kill(&owner.process);
        dead = Some(owner.pid());
    }
    let (last, grant) = next_owner(fixture, &mut waiting);
    reports_death_of(fixture, &grant, dead.expect("four owners died"));
    last.mark_consistent(lock);
    last.unlock(lock);
    let (sibling, grant) = next_owner(fixture, &mut waiting);
    reports_nothing(&grant, "another thread of the same process marked the lock consistent");
    sibling.unlock(lock);
    reports_nothing(&threads[0].finds_free(lock, "it was released"), "an owner marked the lock consistent");
}

fn a_thread_that_ends_frees_the_lock_to_its_process_and_to_another(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 4);
    let (sibling, others) = (&threads[0], [&threads[1], &threads[3]]);
    let lock = fixture.a_lock(sibling);
    for waiters in [[sibling, others[0]], others] {
        let owner = sibling.process.thread(&format!("owner-{}", waiters[0]));
        owner.lock(lock);
        let mut waiting = all_wait(&waiters, lock, "another thread holds the lock");
        let tid: u32 = owner.must("end", &[]).get("tid");
        let (first, grant) = next_owner(fixture, &mut waiting);
        let told = grant.death.map(|death| (death.pid, death.tid));
        assert_eq!(
            told,
            Some((owner.pid(), tid)),
            "thread {tid} ended while it held the lock, but the report is wrong or missing"
        );
        waiting[0].waits("another waiting thread acquired the lock");
        if need::LASTING_REPORTS.is_met(&fixture.suite) {
            first.mark_consistent(lock);
        }
        first.unlock(lock);
        let (second, grant) = next_owner(fixture, &mut waiting);
        reports_nothing(&grant, "another thread marked the lock consistent");
        second.unlock(lock);
    }
}
