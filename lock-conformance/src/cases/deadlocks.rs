//! Cycles of threads that wait for each other: they are listed, and with `deadlocks=refuse` exactly one member gets an error.

use std::thread;
use std::time::Duration;

use super::{cases, with_option};
use crate::fixture::Fixture;
use crate::process::{LockRef, Pending, Thread};
use crate::protocol::{Fields, Refusal};

cases! { "deadlocks";
    one_of_two_members_is_refused [DEADLOCKS PROCESSES NUMBERED];
    one_of_three_members_is_refused [DEADLOCKS PROCESSES NUMBERED];
    one_of_two_threads_of_a_process_is_refused [DEADLOCKS NUMBERED];
    no_further_member_is_refused [DEADLOCKS PROCESSES NUMBERED];
    the_error_has_the_threads_and_the_locks [DEADLOCKS PROCESSES NUMBERED];
    a_cycle_across_pid_namespaces_is_refused [DEADLOCKS NAMED_WAITERS PROCESSES NUMBERED PID_NAMESPACES];
    a_member_without_the_option_is_passed_over [DEADLOCKS PROCESSES NUMBERED];
    a_single_wait_can_have_the_option [DEADLOCKS PROCESSES NUMBERED];
    a_chain_is_not_refused [DEADLOCKS PROCESSES NUMBERED];
    a_wait_behind_a_cycle_is_not_refused [DEADLOCKS PROCESSES NUMBERED];
    a_member_that_timed_out_closes_no_cycle [DEADLOCKS PROCESSES NUMBERED];
    a_killed_member_closes_no_cycle [DEADLOCKS PROCESSES NUMBERED];
    a_lock_that_another_thread_may_release_closes_no_cycle [DEADLOCKS PROCESSES NUMBERED SEND];
    long_waits_for_holders_that_proceed_are_not_refused [DEADLOCKS PROCESSES NUMBERED];
    threads_that_try_again_after_a_refusal_proceed [DEADLOCKS PROCESSES NUMBERED];
    a_cycle_is_listed_until_it_ends [DEADLOCKS PROCESSES NUMBERED];
    a_parent_that_holds_the_lock_of_its_child_is_listed_and_not_refused [DEADLOCKS PROCESSES NUMBERED];
}

/// Longer than the refusal of a cycle takes.
const LONG: Duration = Duration::from_millis(1200);
/// Shorter than the time after which a wait is checked.
const SHORT: Duration = Duration::from_millis(50);

/// Starts a process whose waits are refused if they close a cycle.
fn refusing(fixture: &Fixture) -> Thread {
    fixture.peer_with(&with_option(&fixture.url(), "deadlocks=refuse"))
}

/// Allocates a lock for each member, which acquires it.
fn hold_one_each(members: &[&Thread]) -> Vec<LockRef> {
    let hold = |member: &&Thread| {
        let lock = LockRef::Number(members[0].allocate(""));
        member.lock(lock);
        lock
    };
    members.iter().map(hold).collect()
}

/// Each member starts to wait for the lock of the next one, and the last for that of the first.
fn wait_in_a_ring(members: &[&Thread], locks: &[LockRef]) -> Vec<Pending> {
    let next = locks.iter().cycle().skip(1);
    members.iter().zip(next).map(|(member, lock)| member.start_lock(*lock)).collect()
}

/// Releases the lock of the refused member, and then the locks of the others, each of which acquires the lock for which it waits.
///
/// Returns the position of the member that was refused, and the error.
fn one_is_refused(fixture: &Fixture, members: &[&Thread], locks: &[LockRef], waits: Vec<Pending>) -> (usize, Refusal) {
    fixture.wait_until("a wait that closes a cycle is refused", || waits.iter().any(Pending::has_answered));
    let mut waits: Vec<_> = waits.into_iter().map(Some).collect();
    let refused = waits.iter().position(|wait| wait.as_ref().is_some_and(Pending::has_answered)).expect("one has answered");
    let refusal = waits[refused].take().map(Pending::outcome).expect("it is there").expect_err("no lock was released");
    assert_eq!(refusal.kind, "Deadlock", "a wait that closes a cycle ended in another way: {refusal}");
    for wait in waits.iter().flatten() {
        wait.waits("one member of the cycle was already refused, and no lock was released");
    }
    // From the member that waits for the lock of the refused one.
    let mut released = refused;
    for _ in 1..members.len() {
        members[released].unlock(locks[released]);
        let before = (released + members.len() - 1) % members.len();
        waits[before].take().expect("it waits").granted();
        members[before].unlock(locks[released]);
        released = before;
    }
    members[released].unlock(locks[released]);
    (refused, refusal)
}

fn ring_is_refused_once(fixture: &Fixture, members: &[&Thread]) -> Refusal {
    let locks = hold_one_each(members);
    let waits = wait_in_a_ring(members, &locks);
    one_is_refused(fixture, members, &locks, waits).1
}

/// Number of cycles of each case, so that the members do not always check in the same order.
const ROUNDS: u32 = 3;

fn one_of_two_members_is_refused(fixture: &Fixture) {
    let members = [refusing(fixture), refusing(fixture)];
    for _ in 0..ROUNDS {
        ring_is_refused_once(fixture, &members.each_ref());
    }
}

fn one_of_three_members_is_refused(fixture: &Fixture) {
    let members = [refusing(fixture), refusing(fixture), refusing(fixture)];
    for _ in 0..ROUNDS {
        ring_is_refused_once(fixture, &members.each_ref());
    }
}

fn one_of_two_threads_of_a_process_is_refused(fixture: &Fixture) {
    let first = refusing(fixture);
    let second = first.process.thread("t1");
    ring_is_refused_once(fixture, &[&first, &second]);
}

fn no_further_member_is_refused(fixture: &Fixture) {
    let members = [refusing(fixture), refusing(fixture), refusing(fixture)];
    for members in [&members[..2], &members[..]] {
        let members: Vec<_> = members.iter().collect();
        let locks = hold_one_each(&members);
        let waits = wait_in_a_ring(&members, &locks);
        fixture.wait_until("a wait that closes a cycle is refused", || waits.iter().any(Pending::has_answered));
        // Time in which another member can be refused.
        thread::sleep(LONG);
        let answers = waits.iter().filter(|wait| wait.has_answered()).count();
        assert_eq!(answers, 1, "several members of one cycle were refused");
        one_is_refused(fixture, &members, &locks, waits);
    }
}

fn the_error_has_the_threads_and_the_locks(fixture: &Fixture) {
    let members = [refusing(fixture), refusing(fixture)];
    let members = members.each_ref();
    let locks = hold_one_each(&members);
    let waits = wait_in_a_ring(&members, &locks);
    let (refused, refusal) = one_is_refused(fixture, &members, &locks, waits);
    // The first step is that of the refused thread.
    let expected = [refused, 1 - refused].map(|member| step(members[member], locks[member], locks[1 - member], "Thread"));
    assert_eq!(steps(&refusal.fields), expected, "the error has another cycle: {refusal}");
    for words in [format!("pid {} ", members[0].pid()), format!("holds lock {} and waits for lock {}", locks[0], locks[1])] {
        assert!(refusal.text.contains(&words), "the message does not contain {words:?}: {}", refusal.text);
    }
}

/// A step of a cycle: the pid and the thread id of the waiter, the lock that is held, and the lock for which the thread waits.
type Step = (u32, u32, String, String, String);

fn step(waiter: &Thread, holds: LockRef, waits_for: LockRef, dependence: &str) -> Step {
    (waiter.pid(), waiter.tid(), holds.to_string(), waits_for.to_string(), dependence.to_owned())
}

/// Reads the steps of a cycle from an answer.
fn steps(fields: &Fields) -> Vec<Step> {
    let count = fields.find("steps").unwrap_or(0);
    let step = |at: u32| {
        let text = |name: &str| fields.get::<String>(&format!("{name}.{at}"));
        let number = |name: &str| fields.get(&format!("{name}.{at}"));
        (number("cycle_pid"), number("cycle_tid"), text("holds"), text("waits_for"), text("dependence"))
    };
    (0..count).map(step).collect()
}

fn a_cycle_across_pid_namespaces_is_refused(fixture: &Fixture) {
    let outside = refusing(fixture);
    let inside = fixture.peer_apart();
    inside.must("open", &["open_or_create", &with_option(&fixture.url(), "deadlocks=refuse")]);
    for _ in 0..ROUNDS {
        ring_is_refused_once(fixture, &[&outside, &inside]);
    }
}

fn a_member_without_the_option_is_passed_over(fixture: &Fixture) {
    let (with, without) = (refusing(fixture), fixture.peer());
    for is_first in [true, false] {
        let members = if is_first { [&with, &without] } else { [&without, &with] };
        let locks = hold_one_each(&members);
        let waits = wait_in_a_ring(&members, &locks);
        let (refused, refusal) = one_is_refused(fixture, &members, &locks, waits);
        assert_eq!(refused == 0, is_first, "a wait without the option was refused: {refusal}");
    }
}

fn a_single_wait_can_have_the_option(fixture: &Fixture) {
    let members = [fixture.peer(), fixture.peer()];
    let members = members.each_ref();
    let locks = hold_one_each(&members);
    let waits = vec![members[0].start("lock_refusing", &[&locks[1].to_string()]), members[1].start_lock(locks[0])];
    let (refused, _) = one_is_refused(fixture, &members, &locks, waits);
    assert_eq!(refused, 0, "a wait without the option was refused");
}

/// Asserts that a wait times out although it is longer than the refusal of a cycle takes.
fn is_not_refused(thread: &Thread, lock: LockRef, why: &str) {
    match thread.lock_for(lock, LONG) {
        Err(refusal) => assert_eq!(refusal.kind, "TimedOut", "a wait was refused, although {why}: {refusal}"),
        Ok(_) => panic!("{thread} got the lock {lock}, although another thread holds it"),
    }
}

fn a_chain_is_not_refused(fixture: &Fixture) {
    let threads = [refusing(fixture), refusing(fixture), refusing(fixture)];
    let [end, middle, first] = threads.each_ref();
    let locks = hold_one_each(&[end, middle]);
    let waiting = middle.start_lock(locks[0]);
    waiting.waits("another thread holds the lock");
    is_not_refused(first, locks[1], "the holder of its lock waits for a thread that does not wait");
    waiting.waits("the holder of its lock does not wait");
    end.unlock(locks[0]);
    waiting.granted();
}

fn a_wait_behind_a_cycle_is_not_refused(fixture: &Fixture) {
    let cycle = [fixture.peer(), fixture.peer()];
    let cycle = cycle.each_ref();
    let locks = hold_one_each(&cycle);
    let waits = wait_in_a_ring(&cycle, &locks);
    waits.iter().for_each(|wait| wait.waits("it is in a cycle without the option"));
    let behind = refusing(fixture);
    hold_one_each(&[&behind]);
    is_not_refused(&behind, locks[0], "it is in no cycle");
}

fn a_member_that_timed_out_closes_no_cycle(fixture: &Fixture) {
    let (patient, other) = (refusing(fixture), refusing(fixture));
    let locks = hold_one_each(&[&patient, &other]);
    for _ in 0..2 {
        let refusal = other.lock_for(locks[0], SHORT).expect_err("another thread holds the lock");
        assert_eq!(refusal.kind, "TimedOut", "{refusal}");
        is_not_refused(&patient, locks[1], "the holder of its lock has given up waiting");
    }
}

fn a_killed_member_closes_no_cycle(fixture: &Fixture) {
    let (patient, killed) = (refusing(fixture), fixture.peer());
    let locks = hold_one_each(&[&patient, &killed]);
    let waiting = killed.start_lock(locks[0]);
    waiting.waits("another thread holds the lock");
    fixture.kill(&killed.process);
    // The lock of the dead holder is taken over, or stays held.
    if let Err(refusal) = patient.lock_for(locks[1], LONG) {
        assert_eq!(refusal.kind, "TimedOut", "a wait was refused, although the holder of its lock is dead: {refusal}");
    }
}

fn a_lock_that_another_thread_may_release_closes_no_cycle(fixture: &Fixture) {
    let process = refusing(fixture);
    let lock = LockRef::Number(process.allocate(""));
    process.must("lock_send", &[&lock.to_string()]);
    let thread = process.process.thread("t1");
    is_not_refused(&thread, lock, "another thread of its process may release the lock");
}

/// Time for which a lock is held. Each of the processes waits for longer than the time after which a wait is checked.
const HOLD: Duration = Duration::from_millis(25);
const PROCESSES: usize = 8;
const TURNS: u32 = 3;

fn long_waits_for_holders_that_proceed_are_not_refused(fixture: &Fixture) {
    let threads: Vec<_> = (0..PROCESSES).map(|_| refusing(fixture)).collect();
    let locks = [(); 3].map(|()| threads[0].allocate("").to_string());
    let (hold, turns) = (HOLD.as_nanos().to_string(), TURNS.to_string());
    // Each process acquires two of the locks in ascending order.
    let start = |(number, thread): (usize, &Thread)| {
        let pair = [[0, 1], [1, 2], [0, 2]][number % 3].map(|lock| locks[lock].as_str());
        thread.start("pairs", &[pair[0], pair[1], &turns, &hold])
    };
    let pending: Vec<_> = threads.iter().enumerate().map(start).collect();
    for pending in pending {
        let refusals: u32 = pending.done().get("refusals");
        assert_eq!(refusals, 0, "a wait was refused, although all threads acquire the locks in one order");
    }
}

/// Time for which each thread holds its first lock, so that all hold one.
const CROSSING: Duration = Duration::from_millis(100);

fn threads_that_try_again_after_a_refusal_proceed(fixture: &Fixture) {
    let threads = [refusing(fixture), refusing(fixture), refusing(fixture)];
    let locks = [(); 3].map(|()| threads[0].allocate("").to_string());
    let start = |number: usize| {
        let (first, second) = (&locks[number], &locks[(number + 1) % 3]);
        threads[number].start("pairs", &[first, second, "2", &CROSSING.as_nanos().to_string()])
    };
    let pending = [0, 1, 2].map(start);
    pending.into_iter().for_each(|pending| _ = pending.done());
}

/// Returns the number of listed cycles, and the steps of the first one.
fn listed(observer: &Thread) -> (u32, Vec<Step>) {
    let answer = observer.must("deadlocks", &[]);
    (answer.get("cycles"), steps(&answer))
}

fn a_cycle_is_listed_until_it_ends(fixture: &Fixture) {
    let members = [fixture.peer(), fixture.peer()];
    let (members, observer) = (members.each_ref(), fixture.peer());
    let locks = hold_one_each(&members);
    let expected = [step(members[0], locks[0], locks[1], "Thread"), step(members[1], locks[1], locks[0], "Thread")];
    assert_eq!(listed(&observer).0, 0, "no thread waits, but a deadlock is listed");
    let first = members[0].start_lock(locks[1]);
    first.waits("another thread holds the lock");
    assert_eq!(listed(&observer).0, 0, "one thread waits for another one, but a deadlock is listed");
    let second = members[1].start("lock_for", &[&locks[0].to_string(), &(5 * LONG).as_nanos().to_string()]);
    let mut found = (0, Vec::new());
    fixture.wait_until("the deadlock is listed", || {
        found = listed(&observer);
        found.0 == 1
    });
    assert_eq!(found.1, expected, "the listed cycle has other steps");
    second.outcome().expect_err("another thread holds the lock");
    assert_eq!(listed(&observer).0, 0, "a member has given up waiting, but a deadlock is listed");
    members[1].unlock(locks[1]);
    first.granted();
    assert_eq!(listed(&observer).0, 0, "the deadlock has ended, but it is listed");
}

fn a_parent_that_holds_the_lock_of_its_child_is_listed_and_not_refused(fixture: &Fixture) {
    let (parent, observer) = (refusing(fixture), fixture.peer());
    let lock = hold_one_each(&[&parent])[0];
    let child = fixture.fork(&parent);
    let waiting = child.start("lock_for", &[&lock.to_string(), &LONG.as_nanos().to_string()]);
    let mut found = (0, Vec::new());
    fixture.wait_until("the parent is listed as an ancestor of the waiter, or the wait ends", || {
        found = listed(&observer);
        found.0 == 1 || waiting.has_answered()
    });
    let refusal = waiting.outcome().expect_err("the parent holds the lock");
    assert_eq!(refusal.kind, "TimedOut", "a wait was refused, although the parent may not wait for its child: {refusal}");
    assert_eq!(found.1, [step(&child, lock, lock, "Ancestor")], "the parent is not listed as an ancestor of the waiter");
}
