//! Threads that share a handle and contend with another process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Contenders, cases, nothing_went_wrong_in};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Pending, grant};

cases! { "exclusion";
    attempts_of_two_threads_exclude_a_waiting_process [STORE PROCESSES];
    a_waiting_thread_delays_no_other_thread [STORE PROCESSES];
    crossed_waits_of_threads_are_no_deadlock [STORE PROCESSES NUMBERED];
    one_of_concurrent_attempts_succeeds_and_the_others_return [STORE PROCESSES];
}

/// Time in which a thread answers if it need not wait, with a large margin for slow machines.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Time limit for the critical sections. When it ends, the case stops early and does not fail.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Number of waits.
const WAITS: u32 = 110;

/// Length of a critical section, long enough to overlap another one.
const PACE: u32 = 10_000;

/// Number of critical sections that is never reached.
const UNTIL_STOPPED: &str = "0";

/// Number of critical sections of each thread.
const SECTIONS: u32 = 400;

/// Waits for the answers. Returns the index of a command that has not answered in time.
fn without_answer<'a>(pending: impl Iterator<Item = &'a Pending> + Clone) -> Option<usize> {
    let began = Instant::now();
    loop {
        let missing = pending.clone().position(|pending| !pending.has_answered());
        if missing.is_none() || began.elapsed() > ANSWER_LIMIT {
            return missing;
        }
        sleep(Duration::from_micros(200));
    }
}

/// An owner must release the kernel's lock before the claim of its process.
///
/// In the opposite order, another thread may acquire the claim in between, and the owner then releases that thread's kernel lock.
fn attempts_of_two_threads_exclude_a_waiting_process(fixture: &Fixture) {
    let threads = Contenders::Mixed.start(fixture, 3);
    let lock = fixture.a_lock(&threads[0]);
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    let running = [0, 1, 2].map(|slot| {
        let verb = if slot == 1 { "sections" } else { "try_sections" };
        let (slot_text, pace) = (slot.to_string(), PACE.to_string());
        threads[slot].start(verb, &[path, &slot_text, UNTIL_STOPPED, &pace, &lock.to_string()])
    });
    running.iter().for_each(|pending| _ = pending.begun());
    arena.go();
    let (began, rounds) = (Instant::now(), u64::from(SECTIONS * scale()));
    while began.elapsed() < TIME_LIMIT * scale() && (0..3).any(|slot| arena.place(0).done_by(slot) < rounds) {
        sleep(Duration::from_millis(1));
    }
    arena.stop();
    running.into_iter().for_each(|pending| drop(pending.done()));
    nothing_went_wrong_in(arena.place(0));
}

/// A waiter that holds a mutex of its process blocks the other threads of the process.
fn a_waiting_thread_delays_no_other_thread(fixture: &Fixture) {
    let (owner, process, lock) = Contenders::Processes.start_two(fixture);
    let name = lock.to_string();
    let (waiting, other) = (process.process.thread("t1"), process.process.thread("t2"));
    other.finds_free(lock, "no process holds it");
    owner.lock(lock);
    let (has_deadlines, has_holders) = (need::DEADLINES.is_met(&fixture.suite), need::HOLDERS.is_met(&fixture.suite));
    for round in 0..WAITS {
        let verb: (&str, &[&str]) =
            if has_deadlines && round % 2 == 1 { ("lock_for", &["3600000000000"]) } else { ("lock", &[]) };
        let waiter = waiting.start(verb.0, &[&[name.as_str()], verb.1].concat());
        waiter.waits("another process holds the lock");
        let mut impatient = vec![("try_lock", other.start("try_lock", &[&name]))];
        // Only in some rounds, so that the waits of the two threads do not alternate.
        if has_deadlines && round % 5 == 0 {
            impatient.push(("lock_for 5 ms", other.start("lock_for", &[&name, "5000000"])));
        }
        if has_holders {
            impatient.push(("holder", other.start("holder", &[&name])));
        }
        if let Some(missing) = without_answer(impatient.iter().map(|(_, pending)| pending)) {
            panic!(
                "a thread waits in {}, and another thread of its process does not return from {} while the owner, another \
                 process, holds the lock: the wait keeps something that the process shares",
                verb.0, impatient[missing].0
            );
        }
        for (verb, pending) in impatient {
            let what = pending.outcome();
            let is_granted = verb != "holder" && what.as_ref().is_ok_and(|fields| !fields.has("busy") && fields.has("token"));
            assert!(!is_granted, "a second thread acquired the lock {lock}, although another process holds it");
        }
        owner.unlock(lock);
        waiter.granted();
        waiting.unlock(lock);
        owner.lock(lock);
    }
}

/// The kernel detects deadlocks of record locks between processes, not threads (`EDEADLK`).
///
/// It therefore refuses a wait although the threads of the two processes are not in a deadlock.
fn crossed_waits_of_threads_are_no_deadlock(fixture: &Fixture) {
    let (p, q, first) = Contenders::Processes.start_two(fixture);
    let second = LockRef::Number(p.allocate(""));
    let (a, b) = (p.process.thread("a"), p.process.thread("b"));
    let (c, d) = (q.process.thread("c"), q.process.thread("d"));
    for _ in 0..WAITS {
        a.lock(first);
        c.lock(second);
        let waiting = [b.start_lock(second), d.start_lock(first)];
        for waiter in &waiting {
            waiter.waits("threads of two processes wait crosswise for locks that other threads hold, which is no deadlock");
        }
        a.unlock(first);
        c.unlock(second);
        for (waiter, lock) in waiting.into_iter().zip([second, first]) {
            let thread = waiter.thread().clone();
            let outcome = waiter.outcome();
            assert!(outcome.is_ok(), "{thread} was refused the lock {lock}, although there is no deadlock: {outcome:?}");
            thread.unlock(lock);
        }
    }
}

fn one_of_concurrent_attempts_succeeds_and_the_others_return(fixture: &Fixture) {
    let threads = Contenders::Mixed.start(fixture, 4);
    let lock = fixture.a_lock(&threads[0]);
    let mut won = 0;
    let rounds = 400 * scale();
    for round in 0..rounds {
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let trying: Vec<_> = threads.iter().map(|thread| thread.start("race_to_try", &[path, &lock.to_string()])).collect();
        trying.iter().for_each(|attempt| _ = attempt.begun());
        arena.go();
        if let Some(missing) = without_answer(trying.iter()) {
            panic!("{} does not return from try_lock while another thread holds the lock", trying[missing].thread());
        }
        let outcomes = trying.into_iter().map(|attempt| (attempt.thread().clone(), grant(&attempt.done())));
        let winners: Vec<_> = outcomes.filter(|(_, grant)| grant.is_some()).map(|(thread, _)| thread).collect();
        let names: Vec<_> = winners.iter().map(ToString::to_string).collect();
        assert!(
            winners.len() <= 1,
            "round {round}: {} of four concurrent attempts on one lock succeeded: {names:?}",
            winners.len()
        );
        winners.iter().for_each(|winner| winner.unlock(lock));
        won += u32::try_from(winners.len()).expect("there is at most one winner");
    }
    assert!(won > rounds / 2, "four threads tried a free lock concurrently, but one succeeded in {won} of {rounds} rounds only");
}
