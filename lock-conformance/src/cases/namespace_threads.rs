//! Threads in several PID namespaces, where a thread id is not unique: each namespace counts from 1.

use nix::sys::signal::Signal;

use super::keeping::{each_keeps_its_lock, keeps_its_lock, reports_death_of, reports_no_death};
use super::{cases, nothing_went_wrong_in, start_sections_of};
use crate::fixture::Fixture;
use crate::process::{Grant, Thread};

cases! { "namespaces";
    threads_with_equal_ids_exclude_each_other [PROCESSES PID_NAMESPACES];
    the_death_of_a_waiter_with_the_owners_thread_id_leaves_the_owner_alone [PROCESSES PID_NAMESPACES];
    the_deaths_of_threads_with_equal_ids_are_reported_once_each [PROCESSES PID_NAMESPACES RELEASED];
    sections_of_threads_with_equal_ids_do_not_overlap_after_a_death [PROCESSES PID_NAMESPACES RELEASED];
    a_thread_that_ends_frees_its_lock_for_another_namespace [PROCESSES PID_NAMESPACES THREAD_DEATH];
}

/// Starts processes in new PID namespaces, each with a thread that has the same id in all of them.
///
/// The threads are not main threads.
fn threads_with_equal_ids<const N: usize>(fixture: &Fixture) -> ([Thread; N], u32) {
    // The ids of the first threads may differ, because a backend may start threads.
    const ATTEMPTS: usize = 16;
    let processes: [_; N] = std::array::from_fn(|_| fixture.peer_apart().process);
    let mut threads: [Vec<(u32, Thread)>; N] = std::array::from_fn(|_| Vec::new());
    for attempt in 0..ATTEMPTS {
        for (process, threads) in processes.iter().zip(&mut threads) {
            let thread = process.thread(&format!("t{attempt}"));
            threads.push((thread.tid(), thread));
        }
        let with_id = |tid, threads: &Vec<(u32, Thread)>| threads.iter().find(|(own, _)| *own == tid).map(|(_, t)| t.clone());
        for (tid, _) in &threads[0] {
            let equal: Vec<_> = threads.iter().filter_map(|threads| with_id(*tid, threads)).collect();
            if let Ok(equal) = equal.try_into() {
                return (equal, *tid);
            }
        }
    }
    panic!("{N} processes have no threads with equal ids after {ATTEMPTS} attempts");
}

/// Asserts that the grant names this thread of a process with the pid 1.
///
/// Does nothing if the backend does not claim to report deaths.
fn tells_of_thread(fixture: &Fixture, grant: &Grant, tid: u32) {
    reports_death_of(fixture, grant, 1);
    if let Some(dead) = grant.death.as_ref().filter(|dead| dead.tid != 0) {
        assert_eq!(dead.tid, tid, "thread {tid} died, but the death of another one was reported");
    }
}

fn threads_with_equal_ids_exclude_each_other(fixture: &Fixture) {
    let outside = fixture.peer();
    let ([a, b], _) = threads_with_equal_ids(fixture);
    let lock = fixture.a_lock(&outside);
    a.lock(lock);
    outside.finds_busy(lock, "a thread in another namespace holds it");
    each_keeps_its_lock(fixture, &a, &b, lock);
}

/// The kernel identifies the locks of a dying thread by its id in its own namespace.
fn the_death_of_a_waiter_with_the_owners_thread_id_leaves_the_owner_alone(fixture: &Fixture) {
    let outside = fixture.peer();
    let ([owner, waiters @ ..], _) = threads_with_equal_ids::<4>(fixture);
    let lock = fixture.a_lock(&outside);
    owner.lock(lock);
    let pending: Vec<_> = waiters.iter().map(|waiter| waiter.start_lock(lock)).collect();
    pending.iter().for_each(|pending| pending.waits("the owner lives"));
    // The namespaces end at the same time, because the kernel needs long for each.
    waiters.iter().for_each(|waiter| waiter.process.signal(Signal::SIGKILL));
    for waiter in &waiters {
        fixture.reap(&waiter.process);
        outside.finds_busy(lock, "its owner lives, and the thread that died was a waiter with the same id");
    }
    keeps_its_lock(fixture, &owner, &outside, lock);
}

fn the_deaths_of_threads_with_equal_ids_are_reported_once_each(fixture: &Fixture) {
    let outside = fixture.peer();
    let ([first, others @ ..], tid) = threads_with_equal_ids::<4>(fixture);
    let lock = fixture.a_lock(&outside);
    reports_no_death(&first.lock(lock));
    let mut owner = first;
    for waiter in others.into_iter().chain([outside.clone()]) {
        let pending = waiter.start_lock(lock);
        pending.waits("the owner lives");
        fixture.kill(&owner.process);
        tells_of_thread(fixture, &pending.granted(), tid);
        owner = waiter;
    }
    outside.mark_consistent(lock);
    outside.unlock(lock);
    let again = outside.finds_free(lock, "it was released");
    assert!(again.death.is_none(), "the last death was reported twice");
}

/// One thread runs critical sections continuously.
///
/// Other threads with the same id run some and are killed during one.
fn sections_of_threads_with_equal_ids_do_not_overlap_after_a_death(fixture: &Fixture) {
    const SECTIONS: u64 = 50;
    const PACE: u32 = 1000;
    let outside = fixture.peer();
    let ([survivor, victims @ ..], _) = threads_with_equal_ids::<7>(fixture);
    let lock = fixture.a_lock(&outside);
    let (path, arena) = fixture.arena(1);
    let place = arena.place(0);
    arena.go();
    // All threads have the pid 1, so violations are visible in the sum only.
    assert!(arena.note_kill(1), "the list of killed processes is full");
    let surviving = start_sections_of("sections", &survivor, 0, &path, 0, PACE, &[lock]);
    surviving.begun();
    for victim in &victims {
        let before = place.done_by(1);
        start_sections_of("sections", victim, 1, &path, 0, PACE, &[lock]).begun();
        fixture.wait_until("the thread runs critical sections", || place.done_by(1) >= before + SECTIONS);
        fixture.kill(&victim.process);
    }
    arena.stop();
    surviving.done();
    outside.lock(lock);
    place.repair();
    outside.unlock(lock);
    nothing_went_wrong_in(place);
}

fn a_thread_that_ends_frees_its_lock_for_another_namespace(fixture: &Fixture) {
    let (outside, apart) = (fixture.peer(), fixture.peer_apart());
    ends_and_is_recovered(fixture, &apart, &outside);
    ends_and_is_recovered(fixture, &outside, &apart);
}

/// Ends a thread that holds a lock while the waiter waits for it. The process of the thread continues.
fn ends_and_is_recovered(fixture: &Fixture, process: &Thread, waiter: &Thread) {
    let lock = fixture.a_lock(waiter);
    let owner = process.process.thread("t1");
    owner.lock(lock);
    let pending = waiter.start_lock(lock);
    pending.waits("the owner lives");
    let tid = owner.must("end", &[]).get("tid");
    let told = pending.granted().death.map(|death| (death.pid, death.tid));
    assert_eq!(
        told,
        Some((process.process.own_pid(), tid)),
        "the end of the thread was not reported, or the report names another thread"
    );
    process.finds_busy(lock, "the waiter owns it");
    waiter.mark_consistent(lock);
    waiter.unlock(lock);
    reports_no_death(&process.finds_free(lock, "it was released"));
}
