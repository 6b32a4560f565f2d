//! The list of waiting threads. A thread is listed from its first sleep until its wait ends.

use std::time::{Duration, Instant};

use super::cases;
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::peer::PEER_COMMAND;
use crate::process::{LockRef, Pending, Thread};
use crate::protocol::Fields;

cases! { "waiters";
    a_waiter_is_listed_with_its_lock_thread_and_command [LISTED_WAITERS PROCESSES STORE];
    a_free_lock_and_a_holder_have_no_waiters [LISTED_WAITERS PROCESSES STORE];
    waiters_of_two_locks_are_listed_apart [NAMED_WAITERS PROCESSES NUMBERED];
    a_waiter_that_acquired_the_lock_is_not_listed [LISTED_WAITERS PROCESSES STORE];
    a_waiter_that_timed_out_is_not_listed [LISTED_WAITERS PROCESSES STORE DEADLINES];
    a_cancelled_waiter_is_listed_until_its_wait_ends [NAMED_WAITERS PROCESSES STORE DEADLINES];
    a_failed_attempt_is_no_wait [LISTED_WAITERS PROCESSES STORE];
    a_killed_waiter_is_not_listed [LISTED_WAITERS PROCESSES STORE];
    killed_waiters_take_no_place_from_later_ones [NAMED_WAITERS PROCESSES STORE];
    a_stopped_waiter_is_listed [LISTED_WAITERS PROCESSES STORE];
    a_forked_child_does_not_wait_for_its_parent [NAMED_WAITERS PROCESSES STORE];
    a_forked_child_is_listed_for_its_own_wait [NAMED_WAITERS PROCESSES STORE];
    a_waiter_whose_process_executes_a_program_is_not_listed [NAMED_WAITERS PROCESSES STORE];
    the_time_of_a_wait_grows_and_is_not_too_long [LISTED_WAITERS PROCESSES STORE];
    a_wait_with_a_cancellation_is_one_wait [NAMED_WAITERS PROCESSES STORE DEADLINES];
    many_waiters_are_listed_once_each [NAMED_WAITERS PROCESSES STORE];
    the_number_of_waiters_is_that_of_the_list [NAMED_WAITERS PROCESSES STORE];
    a_waiter_for_a_send_guard_is_listed [NAMED_WAITERS PROCESSES STORE SEND];
    a_list_of_waiters_disturbs_neither_holder_nor_waiters [LISTED_WAITERS PROCESSES STORE];
    a_list_of_waiters_takes_no_lock [LISTED_WAITERS PROCESSES STORE];
    the_time_of_a_holder_is_not_too_long [NAMED_WAITERS PROCESSES NUMBERED HOLDERS];
    a_waiter_of_another_pid_namespace_is_listed [NAMED_WAITERS PROCESSES STORE PID_NAMESPACES];
    waiters_are_not_listed [STORE] unless LISTED_WAITERS;
}

/// A waiting thread in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Listed {
    id: u32,
    pid: u32,
    tid: u32,
    command: String,
    waited: Option<Duration>,
}

fn read(answer: &Fields) -> Vec<Listed> {
    let waiter = |at: usize| Listed {
        id: answer.get(&format!("id.{at}")),
        pid: answer.get(&format!("pid.{at}")),
        tid: answer.get(&format!("tid.{at}")),
        command: answer.get(&format!("command.{at}")),
        waited: answer.find(&format!("waited.{at}")).map(Duration::from_nanos),
    };
    (0..answer.get("count")).map(waiter).collect()
}

/// Lists the waiting threads.
fn list(observer: &Thread) -> Vec<Listed> {
    read(&observer.must("waiting", &[]))
}

/// Returns the number of a lock in lists.
fn number(lock: LockRef) -> u32 {
    match lock {
        LockRef::Number(id) => id,
        LockRef::Single => 0,
    }
}

/// Starts a wait for the lock, and waits until the thread is listed.
fn start_listed(fixture: &Fixture, observer: &Thread, thread: &Thread, lock: LockRef) -> Pending {
    let waiting = thread.start_lock(lock);
    is_listed(fixture, observer, thread, lock, &waiting);
    waiting
}

/// Waits until the thread with this wait is listed.
fn is_listed(fixture: &Fixture, observer: &Thread, thread: &Thread, lock: LockRef, waiting: &Pending) {
    let tid = waiting.begun();
    let is_this = |waiter: &Listed| (waiter.id, waiter.pid, waiter.tid) == (number(lock), thread.process.own_pid(), tid);
    fixture.wait_until(format_args!("{thread}, which waits for {lock}, is listed"), || list(observer).iter().any(is_this));
}

/// Waits until no thread is listed.
fn none_is_listed(fixture: &Fixture, observer: &Thread, why: &str) {
    fixture.wait_until(format_args!("no waiter is listed, because {why}"), || list(observer).is_empty());
}

/// Starts a holder and two other processes. The holder holds the lock.
fn holder_and_two(fixture: &Fixture) -> (Thread, Thread, Thread, LockRef) {
    let (holder, waiter, observer) = (fixture.peer(), fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&holder);
    holder.lock(lock);
    (holder, waiter, observer, lock)
}

fn a_waiter_is_listed_with_its_lock_thread_and_command(fixture: &Fixture) {
    let (holder, waiter, observer, lock) = holder_and_two(fixture);
    let thread = waiter.process.thread("t1");
    let waiting = thread.start_lock(lock);
    waiting.waits("another process holds the lock");
    for observer in [&observer, &holder, &waiter] {
        is_listed(fixture, observer, &waiter, lock, &waiting);
        let listed = list(observer);
        let [waiter] = &listed[..] else { panic!("one thread waits, but {listed:?} are listed") };
        let whole = format!("{PEER_COMMAND} {} ", fixture.suite.name());
        let command = &waiter.command;
        let is_right = command == "exe" || (!command.is_empty() && (whole.starts_with(command) || command.starts_with(&whole)));
        assert!(is_right, "the waiter is listed with the command {command:?}, but its command begins with {whole:?}");
    }
}

fn a_free_lock_and_a_holder_have_no_waiters(fixture: &Fixture) {
    let observer = fixture.peer();
    assert_eq!(list(&observer), [], "no thread waits in a new store, but some are listed");
    let (_holder, _, observer, _) = holder_and_two(fixture);
    assert_eq!(list(&observer), [], "no thread waits for a held lock, but some are listed");
}

fn waiters_of_two_locks_are_listed_apart(fixture: &Fixture) {
    let (holder, observer) = (fixture.peer(), fixture.peer());
    let locks = [(); 3].map(|()| LockRef::Number(holder.allocate("")));
    locks.iter().for_each(|lock| _ = holder.lock(*lock));
    let (one, other) = (fixture.peer(), fixture.peer());
    let threads = [one.clone(), one.process.thread("t1"), other];
    let wanted: Vec<_> = threads.iter().zip(locks).map(|(thread, lock)| start_listed(fixture, &observer, thread, lock)).collect();
    let listed: Vec<_> = list(&observer).into_iter().map(|waiter| (waiter.id, waiter.tid)).collect();
    let mut expected: Vec<_> = wanted.iter().zip(locks).map(|(waiting, lock)| (number(lock), waiting.begun())).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected, "the list differs from the locks for which the threads wait");
    holder.unlock(locks[1]);
    let is_over = || list(&observer).iter().all(|waiter| waiter.id != number(locks[1]));
    fixture.wait_until("the waiter of the released lock is no longer listed", is_over);
    assert_eq!(list(&observer).len(), 2, "the waiters of two held locks are not listed");
}

fn a_waiter_that_acquired_the_lock_is_not_listed(fixture: &Fixture) {
    let (holder, waiter, observer, lock) = holder_and_two(fixture);
    let waiting = start_listed(fixture, &observer, &waiter, lock);
    holder.unlock(lock);
    waiting.granted();
    none_is_listed(fixture, &observer, "the thread has acquired the lock");
}

fn a_waiter_that_timed_out_is_not_listed(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let long = Duration::from_millis(300).as_nanos().to_string();
    let waiting = waiter.start("lock_for", &[&lock.to_string(), &long]);
    let is_this = |listed: &Listed| listed.pid == waiter.pid() && listed.id == number(lock);
    fixture.wait_until("the waiter is listed or has timed out", || list(&observer).iter().any(is_this) || waiting.has_answered());
    let refusal = waiting.outcome().expect_err("another process holds the lock");
    assert_eq!(refusal.kind, "TimedOut", "{refusal}");
    none_is_listed(fixture, &observer, "the wait has timed out");
}

fn a_cancelled_waiter_is_listed_until_its_wait_ends(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let thread = waiter.process.thread("t1");
    let waiting = thread.start("lock_cancellable", &[&lock.to_string()]);
    is_listed(fixture, &observer, &waiter, lock, &waiting);
    waiter.must("cancel", &[]);
    assert_eq!(waiting.outcome().expect_err("another process holds the lock").kind, "Cancelled");
    none_is_listed(fixture, &observer, "the wait was cancelled");
}

fn a_failed_attempt_is_no_wait(fixture: &Fixture) {
    let (_holder, other, observer, lock) = holder_and_two(fixture);
    for _ in 0..20 {
        other.finds_busy(lock, "another process holds it");
        assert_eq!(list(&observer), [], "an attempt has failed, and the thread is listed as a waiter");
    }
}

fn a_killed_waiter_is_not_listed(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let _never = start_listed(fixture, &observer, &waiter, lock);
    fixture.kill(&waiter.process);
    none_is_listed(fixture, &observer, "the waiter was killed");
}

/// Threads of a process that is killed while all of them wait.
const CROWD: u32 = 200;

/// Starts threads that wait for the lock, and waits until all are listed.
fn start_crowd(fixture: &Fixture, observer: &Thread, process: &Thread, lock: LockRef, count: u32) {
    process.must("crowd", &[&lock.to_string(), &count.to_string()]);
    let of_process = || list(observer).iter().filter(|waiter| waiter.pid == process.pid()).count();
    fixture.wait_until(format_args!("{count} waiters of a process are listed"), || of_process() == count as usize);
}

fn killed_waiters_take_no_place_from_later_ones(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    for _ in 0..12 * scale() {
        let crowd = fixture.peer();
        start_crowd(fixture, &observer, &crowd, lock, CROWD);
        fixture.kill(&crowd.process);
    }
    none_is_listed(fixture, &observer, "the waiters were killed");
    start_listed(fixture, &observer, &waiter, lock);
    assert_eq!(list(&observer).len(), 1, "one thread waits, and the others were killed");
}

fn a_stopped_waiter_is_listed(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let waiting = start_listed(fixture, &observer, &waiter, lock);
    waiter.process.stop();
    for _ in 0..20 {
        is_listed(fixture, &observer, &waiter, lock, &waiting);
    }
    fixture.kill(&waiter.process);
    none_is_listed(fixture, &observer, "the waiter was killed after it was stopped");
}

fn a_forked_child_does_not_wait_for_its_parent(fixture: &Fixture) {
    let (_holder, parent, observer, lock) = holder_and_two(fixture);
    let thread = parent.process.thread("t1");
    let waiting = start_listed(fixture, &observer, &thread, lock);
    let child = fixture.fork(&parent);
    // The child uses the store, too.
    child.finds_busy(lock, "another process holds it");
    let of_child = |waiter: &Listed| waiter.pid == child.pid();
    assert!(!list(&observer).iter().any(of_child), "a forked child is listed for the wait of its parent");
    is_listed(fixture, &observer, &thread, lock, &waiting);
    fixture.kill(&parent.process);
    none_is_listed(fixture, &observer, "the parent, which waited, was killed, and its child does not wait");
    child.must("ping", &[]);
}

fn a_forked_child_is_listed_for_its_own_wait(fixture: &Fixture) {
    let (_holder, parent, observer, lock) = holder_and_two(fixture);
    let thread = parent.process.thread("t1");
    let of_parent = start_listed(fixture, &observer, &thread, lock);
    let child = fixture.fork(&parent);
    let of_child = start_listed(fixture, &observer, &child, lock);
    is_listed(fixture, &observer, &thread, lock, &of_parent);
    assert_eq!(list(&observer).len(), 2, "a thread of a parent and one of its child wait");
    fixture.kill(&child.process);
    let is_over = || list(&observer).iter().all(|waiter| waiter.tid == of_parent.begun());
    fixture.wait_until("the killed child is no longer listed", is_over);
    is_listed(fixture, &observer, &thread, lock, &of_parent);
    drop(of_child);
}

fn a_waiter_whose_process_executes_a_program_is_not_listed(fixture: &Fixture) {
    let (_holder, process, observer, lock) = holder_and_two(fixture);
    let caller = process.process.thread("t1");
    caller.must("ping", &[]);
    // The main thread waits, whose id the thread that executes the program gets.
    let _never = start_listed(fixture, &observer, &process, lock);
    let after = fixture.exec(&caller);
    none_is_listed(fixture, &observer, "the process has executed a program");
    after.must("open", &["open", &fixture.url()]);
    assert_eq!(list(&observer), [], "the executed program has opened the store and does not wait");
}

fn the_time_of_a_wait_grows_and_is_not_too_long(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let begun = Instant::now();
    start_listed(fixture, &observer, &waiter, lock);
    let waited = || {
        let listed = list(&observer);
        let waited = listed.iter().find_map(|waiter| waiter.waited);
        assert!(waited <= Some(begun.elapsed()), "{waited:?} is longer than the wait, which began {:?} ago", begun.elapsed());
        waited
    };
    let mut first = None;
    fixture.wait_until("the time of the wait is known", || {
        first = waited();
        first.is_some()
    });
    fixture.wait_until(format_args!("the wait is longer than {first:?}"), || waited() > first);
}

/// Longer than the slices in which a wait checks its cancellation.
const LONGER_THAN_A_SLICE: Duration = Duration::from_millis(350);

fn a_wait_with_a_cancellation_is_one_wait(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let thread = waiter.process.thread("t1");
    let waiting = thread.start("lock_cancellable", &[&lock.to_string()]);
    is_listed(fixture, &observer, &waiter, lock, &waiting);
    let is_long = || {
        let listed = list(&observer);
        assert_eq!(listed.len(), 1, "one thread waits, also between the checks of its cancellation");
        listed[0].waited.is_some_and(|waited| waited > LONGER_THAN_A_SLICE)
    };
    fixture.wait_until("the whole wait is listed", is_long);
    waiter.must("cancel", &[]);
    waiting.outcome().expect_err("another process holds the lock");
}

fn many_waiters_are_listed_once_each(fixture: &Fixture) {
    let (holder, waiter, observer, lock) = holder_and_two(fixture);
    let other = fixture.peer();
    start_crowd(fixture, &observer, &waiter, lock, CROWD);
    start_crowd(fixture, &observer, &other, lock, CROWD);
    let mut threads: Vec<_> = list(&observer).iter().map(|waiter| waiter.tid).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 2 * CROWD as usize, "each of the waiting threads is not listed once");
    holder.unlock(lock);
    none_is_listed(fixture, &observer, "the lock was released, and the waiters acquire and release it");
}

fn the_number_of_waiters_is_that_of_the_list(fixture: &Fixture) {
    let (_holder, waiter, observer, lock) = holder_and_two(fixture);
    let counted = || observer.must("waiters", &[&lock.to_string()]).find::<u32>("waiters");
    let in_held = || observer.must("held", &[]).find::<u32>(&format!("waiters.{}", number(lock)));
    assert_eq!(counted(), Some(0), "no thread waits, but some are counted");
    let threads = [waiter.clone(), waiter.process.thread("t1"), fixture.peer()];
    for (count, thread) in (1..).zip(&threads) {
        drop(start_listed(fixture, &observer, thread, lock));
        assert_eq!(list(&observer).len() as u32, count, "the list differs from the waiting threads");
        assert_eq!(counted(), Some(count), "the number of waiters differs from the list");
        if need::HOLDERS.is_met(&fixture.suite) && need::NUMBERED.is_met(&fixture.suite) {
            assert_eq!(in_held(), Some(count), "the list of held locks has another number of waiters");
        }
    }
}

fn a_waiter_for_a_send_guard_is_listed(fixture: &Fixture) {
    let (holder, waiter, observer, lock) = holder_and_two(fixture);
    let thread = waiter.process.thread("t1");
    let waiting = thread.start("lock_send", &[&lock.to_string()]);
    is_listed(fixture, &observer, &waiter, lock, &waiting);
    holder.unlock(lock);
    waiting.granted();
    none_is_listed(fixture, &observer, "the process has acquired the lock");
    // The process holds the lock now, and its other thread waits.
    let other = waiter.process.thread("t2");
    let waiting = other.start("lock_send", &[&lock.to_string()]);
    is_listed(fixture, &observer, &waiter, lock, &waiting);
}

fn a_list_of_waiters_disturbs_neither_holder_nor_waiters(fixture: &Fixture) {
    let (holder, waiter, observer, lock) = holder_and_two(fixture);
    let waiting = start_listed(fixture, &observer, &waiter, lock);
    for observer in [&observer, &holder] {
        (0..25).for_each(|_| _ = list(observer));
    }
    waiting.waits("a list of waiters does not release a lock");
    observer.finds_busy(lock, "a list of waiters does not release a lock");
    holder.unlock(lock);
    assert!(waiting.granted().death.is_none(), "no owner died, but a death was reported");
}

/// Number of attempts during the queries.
const ATTEMPTS: u32 = 2_000;

fn a_list_of_waiters_takes_no_lock(fixture: &Fixture) {
    let (observer, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other).to_string();
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    let trying = other.start("try_times", &[path, &lock, &(fixture.repetitions(ATTEMPTS) * scale()).to_string()]);
    let looking = observer.start("look_for_waiters", &[path]);
    trying.begun();
    looking.begun();
    arena.go();
    let tried = trying.done();
    let looks: u64 = looking.done().get("looks");
    let (tries, busy): (u64, u64) = (tried.get("tries"), tried.get("busy_times"));
    assert_eq!(busy, 0, "no thread acquired the lock, but {busy} of {tries} attempts found it busy during {looks} queries");
}

fn the_time_of_a_holder_is_not_too_long(fixture: &Fixture) {
    let (holder, observer) = (fixture.peer(), fixture.peer());
    let id = holder.allocate("");
    let lock = LockRef::Number(id);
    let held_for = || {
        let nanoseconds = observer.must("held", &[]).find(&format!("held_for_at_least.{id}"));
        nanoseconds.map(Duration::from_nanos)
    };
    let waiters = [fixture.peer(), fixture.peer()];
    let mut begun = Instant::now();
    holder.lock(lock);
    let mut waiting: Vec<_> = waiters.iter().map(|thread| Some(start_listed(fixture, &observer, thread, lock))).collect();
    let mut owner = holder;
    for _ in &waiters {
        let known = held_for();
        assert!(known <= Some(begun.elapsed()), "the owner has held the lock for {:?}, not for {known:?}", begun.elapsed());
        begun = Instant::now();
        owner.unlock(lock);
        let mut next = None;
        fixture.wait_until("a waiter acquires the lock", || {
            next = waiting.iter().position(|waiting| waiting.as_ref().is_some_and(Pending::has_answered));
            next.is_some()
        });
        let next = next.expect("the loop has ended");
        waiting[next].take().expect("it has not been awaited").granted();
        owner = waiters[next].clone();
    }
    let known = held_for();
    assert!(known <= Some(begun.elapsed()), "the last owner has held the lock for {:?}, not for {known:?}", begun.elapsed());
}

fn a_waiter_of_another_pid_namespace_is_listed(fixture: &Fixture) {
    let (_holder, _, outside, lock) = holder_and_two(fixture);
    let inside = fixture.peer_apart();
    // The process has the pid 1, and outside another process has a thread with the ids of its main thread.
    let waiting = start_listed(fixture, &outside, &inside.process.thread("t1"), lock);
    is_listed(fixture, &inside, &inside, lock, &waiting);
    let of_outside = start_listed(fixture, &inside, &outside.process.thread("t1"), lock);
    fixture.kill(&inside.process);
    fixture.wait_until("the killed waiter of the other namespace is not listed", || list(&outside).len() == 1);
    is_listed(fixture, &outside, &outside, lock, &of_outside);
}

fn waiters_are_not_listed(fixture: &Fixture) {
    fixture.peer().refused("Unsupported", "waiting", &[]);
}

/// Asserts that a waiting thread that the observer may not see is listed until it is killed, or that the list is said to be incomplete.
pub(super) fn a_hidden_waiter_is_listed(fixture: &Fixture, hidden: &Thread, observer: &Thread, lock: LockRef) {
    let thread = hidden.process.thread("waiter");
    let waiting = thread.start_lock(lock);
    let tid = waiting.begun();
    let is_this = |waiter: &Listed| (waiter.id, waiter.tid) == (number(lock), tid);
    let is_seen = || {
        let answer = observer.must("waiting", &[]);
        read(&answer).iter().any(is_this) || answer.has("incomplete")
    };
    fixture.wait_until("a waiter that is not visible is listed, or that the list is incomplete", is_seen);
    for _ in 0..20 {
        assert!(is_seen(), "a live waiter that is not visible is no longer listed");
    }
    fixture.kill(&hidden.process);
    fixture.wait_until("the killed waiter is not listed", || !list(observer).iter().any(is_this));
}
