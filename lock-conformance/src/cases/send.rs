//! Guards that belong to the process and move between its threads.

use std::time::Duration;

use lock_core::Cause;

use super::owner_death::reports_death_of;
use super::{Contenders, cases, cases_for_all, cases_for_mixed, nothing_went_wrong_in, start_sections_by};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{Grant, LockRef, Thread, grant};

/// Long enough for a waiter to sleep, short enough for many cases.
const SHORT: Duration = Duration::from_millis(40);

cases_for_all! { "send";
    a_lock_of_a_process_is_busy [SEND];
    a_waiter_gets_the_lock_when_another_thread_releases_it [SEND];
    sections_of_both_kinds_do_not_overlap [SEND];
    a_token_is_greater_than_those_of_both_kinds [SEND TOKENS];
    a_busy_lock_times_out_and_not_early [SEND DEADLINES];
}

cases_for_mixed! { "send";
    sections_of_both_kinds_do_not_overlap [SEND];
}

cases! { "send";
    another_thread_releases_the_lock [SEND];
    a_thread_of_the_owner_waits_and_is_not_refused [SEND];
    a_thread_that_holds_the_lock_is_refused_a_second_one [SEND REENTRY];
    the_end_of_the_acquiring_thread_releases_nothing [SEND];
    the_holder_is_the_process [SEND HOLDERS];
    a_time_out_names_the_process [SEND HOLDERS DEADLINES];
    kill_9_frees_the_lock [SEND PROCESSES RELEASED];
    exit_frees_the_lock [SEND PROCESSES RELEASED];
    exec_frees_the_lock [SEND PROCESSES RELEASED];
    a_waiter_gets_the_lock_of_the_dead [SEND PROCESSES RELEASED];
    a_report_stays_until_it_is_marked_consistent [SEND PROCESSES REPORTED LASTING_REPORTS];
    a_panic_of_another_thread_is_reported [SEND LASTING_REPORTS];
    a_forked_child_holds_nothing [SEND STORE PROCESSES];
    a_guard_for_the_process_is_refused [] unless SEND;
}

/// Acquires the lock for the process of the thread.
fn lock_send(thread: &Thread, lock: LockRef) -> Grant {
    grant(&thread.must("lock_send", &[&lock.to_string()])).expect("lock_send() does not return busy")
}

fn unlock_send(thread: &Thread, lock: LockRef) {
    thread.must("unlock_send", &[&lock.to_string()]);
}

/// Asserts that the thread can acquire the lock neither for itself nor for its process.
fn finds_busy(thread: &Thread, lock: LockRef, why: &str) {
    thread.finds_busy(lock, why);
    let granted = grant(&thread.must("find_busy_send", &[&lock.to_string()]));
    assert!(granted.is_none(), "{thread} got the lock {lock} for its process, although {why}");
}

/// Two threads of a process, a thread of another one if the lock is shared between processes, and a lock that the first thread has
/// acquired for its process.
fn owners_and_other(fixture: &Fixture) -> (Thread, Thread, Thread, LockRef) {
    let first = fixture.peer().process.thread("t1");
    let second = first.process.thread("t2");
    let other = if need::PROCESSES.is_met(&fixture.suite) { fixture.peer() } else { first.process.thread("t3") };
    let lock = fixture.a_lock(&other);
    lock_send(&first, lock);
    finds_busy(&other, lock, "a process holds it");
    (first, second, other, lock)
}

fn a_lock_of_a_process_is_busy(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    for verb in ["lock_send", "lock_send_owned"] {
        a.must(verb, &[&lock.to_string()]);
        finds_busy(&b, lock, "a process holds it");
        finds_busy(&b, lock, "a failed attempt does not release it");
        a.must("release_send", &[&lock.to_string()]);
        b.finds_free(lock, "its guard was dropped");
    }
    a.lock(lock);
    finds_busy(&b, lock, "a thread holds it");
    a.unlock(lock);
    lock_send(&b, lock);
    finds_busy(&a, lock, "its previous owner has no privilege");
}

fn a_waiter_gets_the_lock_when_another_thread_releases_it(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    let (name, helper) = (lock.to_string(), a.process.thread("helper"));
    for verb in ["lock", "lock_send"] {
        lock_send(&a, lock);
        let waiter = b.start(verb, &[&name]);
        waiter.waits("a process holds the lock");
        unlock_send(&helper, lock);
        assert!(waiter.granted().death.is_none(), "no owner died, but a death was reported");
        finds_busy(&a, lock, "the waiter owns it");
        b.must(if verb == "lock" { "unlock" } else { "unlock_send" }, &[&name]);
    }
    a.lock(lock);
    let waiter = b.start("lock_send", &[&name]);
    waiter.waits("a thread holds the lock");
    a.unlock(lock);
    waiter.granted();
    finds_busy(&a, lock, "the process of the waiter owns it");
}

fn sections_of_both_kinds_do_not_overlap(fixture: &Fixture, contenders: Contenders) {
    let threads = contenders.start(fixture, 4);
    let lock = fixture.a_lock(&threads[0]);
    let (path, arena) = fixture.arena(1);
    let rounds = fixture.repetitions(500) * scale();
    let kind = |n: usize| if n < 2 { "sections" } else { "send_sections" };
    start_sections_by(kind, &threads, (&path, arena), rounds, 20, &[lock]).into_iter().for_each(|pending| drop(pending.done()));
    nothing_went_wrong_in(arena.place(0));
    assert_eq!(arena.place(0).done(), 4 * u64::from(rounds), "the number of critical sections is wrong");
}

fn a_token_is_greater_than_those_of_both_kinds(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    let mut last = 0;
    for (thread, is_send) in [(&a, true), (&a, true), (&b, false), (&b, true), (&a, false), (&b, true)] {
        let token = if is_send { lock_send(thread, lock).token } else { thread.lock(lock).token };
        assert!(token > last, "the token {token} came after {last}");
        last = token;
        if is_send { unlock_send(thread, lock) } else { thread.unlock(lock) }
    }
}

fn a_busy_lock_times_out_and_not_early(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    lock_send(&a, lock);
    for duration in [Duration::from_nanos(1), Duration::from_millis(1), SHORT] {
        for verb in ["lock_send_for", "lock_for"] {
            let refusal = b.refused("TimedOut", verb, &[&lock.to_string(), &duration.as_nanos().to_string()]);
            let took = Duration::from_nanos(refusal.fields.get("took"));
            assert!(took >= duration, "{verb} gave up too early: after {took:?} instead of {duration:?}");
        }
    }
    unlock_send(&a, lock);
    b.must("lock_send_for", &[&lock.to_string(), &SHORT.as_nanos().to_string()]);
}

fn another_thread_releases_the_lock(fixture: &Fixture) {
    let (first, second, other, lock) = owners_and_other(fixture);
    unlock_send(&second, lock);
    assert!(
        other.finds_free(lock, "a thread of its owner released it").death.is_none(),
        "a death is reported, but no owner died"
    );
    // Each thread can acquire it again, for itself and for the process.
    for thread in [&second, &first] {
        thread.finds_free(lock, "no process holds it");
        lock_send(thread, lock);
        finds_busy(&other, lock, "a process holds it");
        thread.must("release_send", &[&lock.to_string()]);
    }
}

fn a_thread_of_the_owner_waits_and_is_not_refused(fixture: &Fixture) {
    let (first, second, _, lock) = owners_and_other(fixture);
    for verb in ["lock", "lock_send"] {
        // Also the thread that acquired the lock waits, because another one can release it.
        let waiter = first.start(verb, &[&lock.to_string()]);
        waiter.waits("its process holds the lock");
        unlock_send(&second, lock);
        waiter.granted();
        finds_busy(&second, lock, "the waiter owns it");
        if verb == "lock" {
            first.unlock(lock);
            lock_send(&first, lock);
        }
    }
}

fn a_thread_that_holds_the_lock_is_refused_a_second_one(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    let name = lock.to_string();
    a.lock(lock);
    a.refused("AlreadyHeld", "lock_send", &[&name]);
    a.refused("AlreadyHeld", "lock_send_owned", &[&name]);
    assert!(a.must("try_lock_send", &[&name]).has("busy"), "{a} got the lock {lock} for its process, although it holds the lock");
    if need::DEADLINES.is_met(&fixture.suite) {
        a.refused("AlreadyHeld", "lock_send_for", &[&name, "1000000"]);
    }
    finds_busy(&b, lock, "a refused second acquisition does not release it");
    a.unlock(lock);
    b.finds_free(lock, "it was acquired once and released once");
}

fn the_end_of_the_acquiring_thread_releases_nothing(fixture: &Fixture) {
    let (first, second, other, lock) = owners_and_other(fixture);
    let waiter = second.start_lock(lock);
    waiter.waits("its process holds the lock");
    let tid = first.must("end", &[]).get("tid");
    first.process.wait_for_end_of(tid);
    for _ in 0..3 {
        finds_busy(&other, lock, "only the thread ended that acquired it for the process");
    }
    waiter.waits("only the thread ended that acquired the lock for the process");
    let helper = second.process.thread("helper");
    unlock_send(&helper, lock);
    assert!(waiter.granted().death.is_none(), "a death is reported, although only the acquiring thread ended");
    second.unlock(lock);
    assert!(other.lock(lock).death.is_none(), "a death is reported, although only the acquiring thread ended");
}

fn the_holder_is_the_process(fixture: &Fixture) {
    let (first, _, other, lock) = owners_and_other(fixture);
    for thread in [&other, &first] {
        let named = thread.must("holder", &[&lock.to_string()]);
        names_process(named.find("pid"), named.find("tid"), first.pid());
    }
}

fn names_process(pid: Option<u32>, tid: Option<u32>, owner: u32) {
    assert_eq!(pid, Some(owner), "the process holds the lock, but it is not named as the holder");
    assert!(
        [None, Some(0), Some(owner)].contains(&tid),
        "the process {owner} holds the lock, but its thread {tid:?} is named as the holder"
    );
}

fn a_time_out_names_the_process(fixture: &Fixture) {
    let (first, _, other, lock) = owners_and_other(fixture);
    for verb in ["lock_for", "lock_send_for"] {
        let fields = other.refused("TimedOut", verb, &[&lock.to_string(), "1000000"]).fields;
        names_process(fields.find("pid"), fields.find("tid"), first.pid());
    }
}

/// Asserts that the lock of the dead process is free, and that a claimed report is made.
fn free_after_death(fixture: &Fixture, other: &Thread, lock: LockRef, dead: u32) {
    reports_death_of(fixture, &lock_send(other, lock), dead);
    other.must("mark_send", &[&lock.to_string()]);
    unlock_send(other, lock);
    assert!(other.finds_free(lock, "it was released").death.is_none(), "a death is reported twice");
}

/// The guard is leaked, which changes nothing while the owner lives.
fn kill_9_frees_the_lock(fixture: &Fixture) {
    let (first, second, other, lock) = owners_and_other(fixture);
    second.must("leak_send", &[&lock.to_string()]);
    finds_busy(&other, lock, "its guard was leaked, and its owner lives");
    fixture.kill(&first.process);
    free_after_death(fixture, &other, lock, first.pid());
}

fn exit_frees_the_lock(fixture: &Fixture) {
    let (_, second, other, lock) = owners_and_other(fixture);
    let _never = second.start("exit", &[]);
    fixture.reap(&second.process);
    free_after_death(fixture, &other, lock, second.pid());
}

fn exec_frees_the_lock(fixture: &Fixture) {
    let (_, second, other, lock) = owners_and_other(fixture);
    let after = fixture.exec(&second);
    free_after_death(fixture, &other, lock, second.pid());
    after.must("ping", &[]);
}

fn a_waiter_gets_the_lock_of_the_dead(fixture: &Fixture) {
    for verb in ["lock", "lock_send"] {
        let (first, _, other, lock) = owners_and_other(fixture);
        let waiter = other.start(verb, &[&lock.to_string()]);
        waiter.waits("a process holds the lock");
        fixture.kill(&first.process);
        reports_death_of(fixture, &waiter.granted(), first.pid());
        other.must(if verb == "lock" { "unlock" } else { "unlock_send" }, &[&lock.to_string()]);
    }
}

fn a_report_stays_until_it_is_marked_consistent(fixture: &Fixture) {
    let (first, _, other, lock) = owners_and_other(fixture);
    fixture.kill(&first.process);
    for _ in 0..2 {
        reports_death_of(fixture, &lock_send(&other, lock), first.pid());
        unlock_send(&other, lock);
        reports_death_of(fixture, &other.lock(lock), first.pid());
        other.unlock(lock);
    }
    lock_send(&other, lock);
    other.process.thread("helper").must("mark_send", &[&lock.to_string()]);
    unlock_send(&other, lock);
    for verb in ["lock_send", "lock"] {
        let granted = other.start(verb, &[&lock.to_string()]).granted();
        assert!(granted.death.is_none(), "a death is reported, although an owner marked the lock consistent");
        other.must(if verb == "lock" { "unlock" } else { "unlock_send" }, &[&lock.to_string()]);
    }
}

fn a_panic_of_another_thread_is_reported(fixture: &Fixture) {
    let (first, second, other, lock) = owners_and_other(fixture);
    second.must("panic_send", &[&lock.to_string()]);
    for _ in 0..2 {
        let granted = lock_send(&other, lock);
        let told =
            granted.death.unwrap_or_else(|| panic!("{second} panicked with the guard, but the next owner received no report"));
        assert_eq!(told.cause, Cause::Panicked, "{second} panicked, but the report has another cause");
        assert_eq!(told.pid, first.pid(), "{second} panicked, but the report names another process");
        unlock_send(&other, lock);
    }
    lock_send(&other, lock);
    other.must("mark_send", &[&lock.to_string()]);
    unlock_send(&other, lock);
    assert!(
        first.finds_free(lock, "it was released").death.is_none(),
        "the panic is reported, although it was marked consistent"
    );
}

fn a_forked_child_holds_nothing(fixture: &Fixture) {
    let (first, second, other, lock) = owners_and_other(fixture);
    let name = lock.to_string();
    let child = fixture.fork(&second);
    finds_busy(&child, lock, "its parent holds it");
    child.refused("NotHeld", "mark_send", &[&name]);
    child.must("release_send", &[&name]);
    finds_busy(&other, lock, "only a child of its owner dropped its copy of the guard");
    finds_busy(&child, lock, "its parent holds it");
    let second_child = fixture.fork(&second);
    second_child.refused("NotHeld", "unlock_send", &[&name]);
    finds_busy(&other, lock, "only a child of its owner tried to release it");
    unlock_send(&first, lock);
    lock_send(&child, lock);
    finds_busy(&first, lock, "the child holds it");
    finds_busy(&second_child, lock, "the child holds it");
    unlock_send(&child, lock);
    assert!(first.finds_free(lock, "the child released it").death.is_none(), "a death is reported, although no process died");
}

fn a_guard_for_the_process_is_refused(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    for verb in ["lock_send", "try_lock_send", "lock_send_owned"] {
        a.refused("Unsupported", verb, &[&lock.to_string()]);
        b.finds_free(lock, "an acquisition was refused");
    }
}
