//! Queries for allocated ids, held locks, holders and waiters, none of which may disturb the locks.

use super::{Contenders, cases, death_is_noticed, start_sections};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::peer::PEER_COMMAND;
use crate::process::{LockRef, Thread};

cases! { "listing";
    every_allocation_is_listed_once_and_in_order [NUMBERED PROCESSES];
    an_allocator_that_is_named_is_the_right_one [NUMBERED PROCESSES];
    a_held_lock_is_listed_with_its_holder [HOLDERS NUMBERED PROCESSES];
    a_lock_names_its_holder [HOLDERS];
    a_recovered_lock_is_listed_with_its_new_holder [HOLDERS NUMBERED PROCESSES RELEASED];
    a_dead_owner_is_no_holder [HOLDERS PROCESSES RELEASED];
    a_stopped_holder_is_listed [HOLDERS NUMBERED PROCESSES];
    looking_takes_no_lock [HOLDERS NUMBERED PROCESSES];
    a_holder_that_looks_keeps_its_locks [HOLDERS NUMBERED PROCESSES];
    looking_disturbs_neither_holder_nor_waiters [HOLDERS NUMBERED PROCESSES];
    work_goes_on_while_somebody_looks [HOLDERS NUMBERED PROCESSES];
    waiters_are_counted [WAITERS];
    looking_for_held_locks_is_refused [NUMBERED] unless HOLDERS;
    a_lock_knows_no_holder [] unless HOLDERS;
    a_lock_knows_no_number_of_waiters [] unless WAITERS;
}

fn every_allocation_is_listed_once_and_in_order(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    assert_eq!(a.allocated(), [], "ids are allocated in a new store");
    let mut ids: Vec<_> = [&a, &b, &b, &a, &a].iter().map(|thread| thread.allocate("")).collect();
    ids.sort_unstable();
    assert_eq!(a.allocated(), ids, "the list differs from the ids that were allocated");
    assert_eq!(b.allocated(), ids, "the list of another process differs from the ids that were allocated");
    b.free(ids.remove(2));
    assert_eq!(a.allocated(), ids, "the list is wrong after an id was freed");
}

fn an_allocator_that_is_named_is_the_right_one(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let ids = [a.allocate(""), b.allocate("")];
    let list = a.must("allocated", &[]);
    for (id, thread) in ids.iter().zip([&a, &b]) {
        if let Some(pid) = list.find::<u32>(&format!("pid.{id}")) {
            assert_eq!(pid, thread.pid(), "another process is named as the allocator of {id}");
        }
    }
}

fn a_held_lock_is_listed_with_its_holder(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let locks = [(); 3].map(|()| a.allocate(""));
    assert_eq!(b.must("held", &[]).numbers("ids"), [], "no lock is held, but some are listed");
    let thread = a.process.thread("t1");
    a.lock(LockRef::Number(locks[0]));
    thread.lock(LockRef::Number(locks[2]));
    for observer in [&a, &b] {
        let held = observer.must("held", &[]);
        assert_eq!(held.numbers("ids"), [locks[0], locks[2]], "the list differs from the held locks");
        for (id, holder) in [(locks[0], &a), (locks[2], &thread)] {
            let named: Option<u32> = held.find(&format!("pid.{id}"));
            assert_eq!(named, Some(holder.pid()), "another process than the holder is named for {id}");
            let tid: u32 = held.get(&format!("tid.{id}"));
            assert!(tid == 0 || tid == holder.tid(), "the lock {id} names a thread that does not hold it");
            let command: String = held.get(&format!("command.{id}"));
            // The command is the command line, a prefix of it, or the name that the kernel gives the process.
            let whole = format!("{PEER_COMMAND} {} ", fixture.suite.name());
            let is_right =
                command == "exe" || (!command.is_empty() && (whole.starts_with(&command) || command.starts_with(&whole)));
            assert!(is_right, "the holder of {id} is listed with the command {command:?}, but its command begins with {whole:?}");
        }
    }
    a.unlock(LockRef::Number(locks[0]));
    assert_eq!(b.must("held", &[]).numbers("ids"), [locks[2]], "a released lock is listed as held");
}

fn a_lock_names_its_holder(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    let name = lock.to_string();
    assert!(!b.must("holder", &[&name]).has("pid"), "the lock is free, but a holder is named");
    a.lock(lock);
    let named = b.must("holder", &[&name]);
    assert_eq!(named.find::<u32>("pid"), Some(a.pid()), "the holder is not named");
    let tid: u32 = named.get("tid");
    assert!(tid == 0 || tid == a.tid(), "a thread that does not hold the lock is named");
    a.unlock(lock);
    assert!(!b.must("holder", &[&name]).has("pid"), "the lock was released, but a holder is named");
}

fn a_recovered_lock_is_listed_with_its_new_holder(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let id = other.allocate("");
    owner.lock(LockRef::Number(id));
    fixture.kill(&owner.process);
    other.lock(LockRef::Number(id));
    let held = fixture.peer().must("held", &[]);
    assert_eq!(
        held.find::<u32>(&format!("pid.{id}")),
        Some(other.pid()),
        "the thread that recovered the lock is not listed as its holder"
    );
}

/// Number of calls that name holders, each of which has to return the right answer.
const QUERIES: &str = "60";

/// Asserts that no call that names holders names one for this lock.
fn names_no_holder(fixture: &Fixture, thread: &Thread, lock: LockRef, why: &str) {
    let named: Option<u32> = thread.must("until_changed", &[QUERIES, "holder", &lock.to_string()]).find("pid");
    assert_eq!(named, None, "holder() names a process, although {why}");
    if need::NUMBERED.is_met(&fixture.suite) {
        let held = thread.must("until_changed", &[QUERIES, "held"]).numbers("ids");
        assert!(!held.iter().any(|id| LockRef::Number(*id) == lock), "held() lists the lock {lock}, although {why}");
    }
}

fn a_dead_owner_is_no_holder(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    other.must("handle", &[&lock.to_string()]);
    owner.lock(lock);
    fixture.kill(&owner.process);
    death_is_noticed(fixture, &other, lock);
    let died = "its owner died, and no thread has acquired the lock since";
    names_no_holder(fixture, &other, lock, died);
    names_no_holder(fixture, &fixture.peer(), lock, died);
    // With `LASTING_REPORTS`, the report of the death remains.
    other.lock(lock);
    other.unlock(lock);
    names_no_holder(fixture, &other, lock, "it was recovered and then released");
    other.lock(lock);
    fixture.kill(&other.process);
    let third = fixture.peer();
    death_is_noticed(fixture, &third, lock);
    names_no_holder(fixture, &third, lock, "the owner that recovered it died");
}

fn a_stopped_holder_is_listed(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let id = other.allocate("");
    owner.lock(LockRef::Number(id));
    owner.process.stop();
    let held = other.must("held", &[]);
    assert_eq!(held.find::<u32>(&format!("pid.{id}")), Some(owner.pid()), "the stopped holder is not listed");
}

/// Number of attempts while another process lists locks.
///
/// It suffices to detect a listing that holds each lock for microseconds.
const ATTEMPTS: u32 = 20_000;

/// If a listing acquires the locks that it lists, an attempt by another process finds one of them busy.
fn looking_takes_no_lock(fixture: &Fixture) {
    let (observer, other) = (fixture.peer(), fixture.peer());
    let id = other.allocate("").to_string();
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    let trying = other.start("try_times", &[path, &id, &(fixture.repetitions(ATTEMPTS) * scale()).to_string()]);
    let looking = observer.start("look", &[path]);
    trying.begun();
    looking.begun();
    arena.go();
    let tried = trying.done();
    let looks: u64 = looking.done().get("looks");
    let (tries, busy): (u64, u64) = (tried.get("tries"), tried.get("busy_times"));
    assert_eq!(busy, 0, "no thread acquired the lock, but {busy} of {tries} attempts found it busy during {looks} queries");
}

/// Closing any descriptor of a file releases the process's record locks on it (see `fcntl_locking(2)`).
fn a_holder_that_looks_keeps_its_locks(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = LockRef::Number(other.allocate(""));
    let observer = owner.process.thread("t1");
    for thread in [&owner, &observer] {
        owner.lock(lock);
        thread.must("until_changed", &[QUERIES, "held"]);
        other.finds_busy(lock, "a thread of its owner's process has only called held()");
        thread.must("until_changed", &[QUERIES, "holder", &lock.to_string()]);
        other.finds_busy(lock, "a thread of its owner's process has only called holder()");
        thread.must("until_changed", &[QUERIES, "allocated"]);
        other.finds_busy(lock, "a thread of its owner's process has only called allocated()");
        owner.unlock(lock);
        other.finds_free(lock, "it was released");
    }
}

fn looking_disturbs_neither_holder_nor_waiters(fixture: &Fixture) {
    let (owner, other, observer) = (fixture.peer(), fixture.peer(), fixture.peer());
    let id = other.allocate("");
    let lock = LockRef::Number(id);
    owner.lock(lock);
    let waiter = other.start_lock(lock);
    waiter.waits("another thread holds the lock");
    for _ in 0..50 {
        let held = observer.must("held", &[]);
        assert_eq!(
            held.find::<u32>(&format!("pid.{id}")),
            Some(owner.pid()),
            "the holder is not named while another thread waits"
        );
    }
    waiter.waits("queries do not release a lock");
    owner.unlock(lock);
    assert!(waiter.granted().death.is_none(), "no owner died, but a death was reported");
}

fn work_goes_on_while_somebody_looks(fixture: &Fixture) {
    let threads: Vec<_> = (0..2).map(|_| fixture.peer()).collect();
    let observer = fixture.peer();
    let lock = fixture.a_lock(&threads[0]);
    let (path, arena) = fixture.arena(1);
    let looking = observer.start("look", &[path.to_str().expect("the scratch path is text")]);
    looking.begun();
    for pending in start_sections(&threads, (&path, arena), 500 * scale(), 20, &[lock]) {
        pending.done();
    }
    arena.stop();
    let looks: u64 = looking.done().get("looks");
    assert!(looks > 0, "no query ran");
    super::nothing_went_wrong_in(arena.place(0));
}

fn waiters_are_counted(fixture: &Fixture) {
    let threads = Contenders::Threads.start(fixture, 3);
    let lock = fixture.a_lock(&threads[0]);
    let waiters = || threads[0].must("waiters", &[&lock.to_string()]).find::<u32>("waiters");
    assert_eq!(waiters(), Some(0), "the number of waiters of a free lock is not 0");
    threads[0].lock(lock);
    assert_eq!(waiters(), Some(0), "no thread waits, but the number of waiters of a held lock is not 0");
    let waiting: Vec<_> = threads[1..].iter().map(|thread| thread.start_lock(lock)).collect();
    waiting.iter().for_each(|waiter| waiter.waits("another thread holds the lock"));
    fixture.wait_until("two waiters are counted", || waiters() == Some(2));
}

fn looking_for_held_locks_is_refused(fixture: &Fixture) {
    fixture.peer().refused("Unsupported", "held", &[]);
}

fn a_lock_knows_no_holder(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    a.lock(lock);
    assert!(
        !b.must("holder", &[&lock.to_string()]).has("pid"),
        "a holder is named, although the backend does not claim to know it"
    );
}

fn a_lock_knows_no_number_of_waiters(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a);
    let waiters = a.must("waiters", &[&lock.to_string()]);
    assert!(!waiters.has("waiters"), "waiters are counted, although the backend does not claim to count them");
}
