//! Looking: what is allocated, what is held and by whom, without disturbing anybody.

use super::{Who, cases, start_sections};
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
    assert_eq!(a.allocated(), [], "a new store has something allocated");
    let mut ids: Vec<_> = [&a, &b, &b, &a, &a].iter().map(|thread| thread.allocate("")).collect();
    ids.sort_unstable();
    assert_eq!(a.allocated(), ids, "the list is not what was allocated");
    assert_eq!(b.allocated(), ids, "the list of another process is not what was allocated");
    b.free(ids.remove(2));
    assert_eq!(a.allocated(), ids, "the list is not what is allocated after one was freed");
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
    assert_eq!(b.must("held", &[]).numbers("ids"), [], "nothing is held, and something is listed");
    let thread = a.process.thread("t1");
    a.lock(LockRef::Number(locks[0]));
    thread.lock(LockRef::Number(locks[2]));
    for looker in [&a, &b] {
        let held = looker.must("held", &[]);
        assert_eq!(held.numbers("ids"), [locks[0], locks[2]], "the list is not what is held");
        for (id, holder) in [(locks[0], &a), (locks[2], &thread)] {
            let named: Option<u32> = held.find(&format!("pid.{id}"));
            assert_eq!(named, Some(holder.pid()), "another process than the holder is named for {id}");
            let tid: u32 = held.get(&format!("tid.{id}"));
            assert!(tid == 0 || tid == holder.tid(), "another thread than the holder is named for {id}");
            let command: String = held.get(&format!("command.{id}"));
            // The whole command line, its beginning, or the name that the kernel gives the process.
            let whole = format!("{PEER_COMMAND} {} ", fixture.suite.name());
            let is_right =
                command == "exe" || (!command.is_empty() && (whole.starts_with(&command) || command.starts_with(&whole)));
            assert!(is_right, "the command of the holder of {id} is said to be {command:?}, and begins with {whole:?}");
        }
    }
    a.unlock(LockRef::Number(locks[0]));
    assert_eq!(b.must("held", &[]).numbers("ids"), [locks[2]], "a released lock is listed as held");
}

fn a_lock_names_its_holder(fixture: &Fixture) {
    let (a, b, lock) = Who::Threads.two(fixture);
    let name = lock.to_string();
    assert!(!b.must("holder", &[&name]).has("pid"), "nobody holds the lock, and a holder is named");
    a.lock(lock);
    let named = b.must("holder", &[&name]);
    assert_eq!(named.find::<u32>("pid"), Some(a.pid()), "the holder is not named");
    let tid: u32 = named.get("tid");
    assert!(tid == 0 || tid == a.tid(), "another thread than the holder is named");
    a.unlock(lock);
    assert!(!b.must("holder", &[&name]).has("pid"), "nobody holds the lock any more, and a holder is named");
}

fn a_recovered_lock_is_listed_with_its_new_holder(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let id = other.allocate("");
    owner.lock(LockRef::Number(id));
    fixture.kill(&owner.process);
    other.lock(LockRef::Number(id));
    let held = fixture.peer().must("held", &[]);
    assert_eq!(held.find::<u32>(&format!("pid.{id}")), Some(other.pid()), "the one who recovered the lock is not its holder");
}

/// Number of calls that name holders, each of which has to be right.
const LOOKS: &str = "60";

/// Asserts that the lock is said to be free by each call that names holders.
fn names_no_holder(fixture: &Fixture, thread: &Thread, lock: LockRef, why: &str) {
    let named: Option<u32> = thread.must("until_changed", &[LOOKS, "holder", &lock.to_string()]).find("pid");
    assert_eq!(named, None, "holder() names a process, although {why}");
    if need::NUMBERED.is_met(&fixture.suite) {
        let held = thread.must("until_changed", &[LOOKS, "held"]).numbers("ids");
        assert!(!held.iter().any(|id| LockRef::Number(*id) == lock), "held() lists the lock {lock}, although {why}");
    }
}

fn a_dead_owner_is_no_holder(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    other.must("handle", &[&lock.to_string()]);
    owner.lock(lock);
    fixture.kill(&owner.process);
    let died = "its owner died, and no thread has acquired the lock since";
    names_no_holder(fixture, &other, lock, died);
    names_no_holder(fixture, &fixture.peer(), lock, died);
    // The report of the death stays, where that is claimed.
    other.lock(lock);
    other.unlock(lock);
    names_no_holder(fixture, &other, lock, "it was recovered and released");
    other.lock(lock);
    fixture.kill(&other.process);
    names_no_holder(fixture, &fixture.peer(), lock, "the owner that recovered it died, too");
}

fn a_stopped_holder_is_listed(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let id = other.allocate("");
    owner.lock(LockRef::Number(id));
    owner.process.stop();
    let held = other.must("held", &[]);
    assert_eq!(held.find::<u32>(&format!("pid.{id}")), Some(owner.pid()), "a holder that is stopped is not listed");
}

/// Number of attempts during which another process looks. A listing that takes each lock for microseconds meets one of them.
const ATTEMPTS: u32 = 20_000;

/// Where a listing takes the locks it lists, somebody else finds one busy.
fn looking_takes_no_lock(fixture: &Fixture) {
    let (looker, other) = (fixture.peer(), fixture.peer());
    let id = other.allocate("").to_string();
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    let trying = other.start("try_times", &[path, &id, &(ATTEMPTS * scale()).to_string()]);
    let looking = looker.start("look", &[path]);
    trying.begun();
    looking.begun();
    arena.go();
    let tried = trying.done();
    let looks: u64 = looking.done().get("looks");
    let (tries, busy): (u64, u64) = (tried.get("tries"), tried.get("busy_times"));
    assert_eq!(busy, 0, "only somebody looked, and the lock was busy {busy} times of {tries}, during {looks} looks");
}

/// A process that opens and closes the file of a lock gives up its record locks on it.
fn a_holder_that_looks_keeps_its_locks(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = LockRef::Number(other.allocate(""));
    let looker = owner.process.thread("t1");
    for thread in [&owner, &looker] {
        owner.lock(lock);
        thread.must("until_changed", &[LOOKS, "held"]);
        other.finds_busy(lock, "a thread of its owner's process has only called held()");
        thread.must("until_changed", &[LOOKS, "holder", &lock.to_string()]);
        other.finds_busy(lock, "a thread of its owner's process has only called holder()");
        thread.must("until_changed", &[LOOKS, "allocated"]);
        other.finds_busy(lock, "a thread of its owner's process has only called allocated()");
        owner.unlock(lock);
        other.finds_free(lock, "it was released");
    }
}

fn looking_disturbs_neither_holder_nor_waiters(fixture: &Fixture) {
    let (owner, other, looker) = (fixture.peer(), fixture.peer(), fixture.peer());
    let id = other.allocate("");
    let lock = LockRef::Number(id);
    owner.lock(lock);
    let waiter = other.start_lock(lock);
    waiter.waits("somebody else holds the lock");
    for _ in 0..50 {
        let held = looker.must("held", &[]);
        assert_eq!(held.find::<u32>(&format!("pid.{id}")), Some(owner.pid()), "the holder is not named while somebody waits");
    }
    waiter.waits("somebody only looked");
    owner.unlock(lock);
    assert!(waiter.granted().death.is_none(), "nobody died, and a death was told");
}

fn work_goes_on_while_somebody_looks(fixture: &Fixture) {
    let threads: Vec<_> = (0..2).map(|_| fixture.peer()).collect();
    let looker = fixture.peer();
    let lock = fixture.a_lock(&threads[0]);
    let (path, arena) = fixture.arena(1);
    let looking = looker.start("look", &[path.to_str().expect("the scratch path is text")]);
    looking.begun();
    for pending in start_sections(&threads, (&path, arena), 500 * scale(), 20, &[lock]) {
        pending.done();
    }
    arena.stop();
    let looks: u64 = looking.done().get("looks");
    assert!(looks > 0, "nobody looked");
    super::nothing_went_wrong_in(arena.place(0));
}

fn waiters_are_counted(fixture: &Fixture) {
    let threads = Who::Threads.come(fixture, 3);
    let lock = fixture.a_lock(&threads[0]);
    let waiters = || threads[0].must("waiters", &[&lock.to_string()]).find::<u32>("waiters");
    assert_eq!(waiters(), Some(0), "nobody waits");
    threads[0].lock(lock);
    assert_eq!(waiters(), Some(0), "nobody waits for a lock that is held");
    let waiting: Vec<_> = threads[1..].iter().map(|thread| thread.start_lock(lock)).collect();
    waiting.iter().for_each(|waiter| waiter.waits("somebody else holds the lock"));
    fixture.wait_until("two waiters are counted", || waiters() == Some(2));
}

fn looking_for_held_locks_is_refused(fixture: &Fixture) {
    fixture.peer().refused("Unsupported", "held", &[]);
}

fn a_lock_knows_no_holder(fixture: &Fixture) {
    let (a, b, lock) = Who::Threads.two(fixture);
    a.lock(lock);
    assert!(!b.must("holder", &[&lock.to_string()]).has("pid"), "a holder is named where that is not claimed");
}

fn a_lock_knows_no_number_of_waiters(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a);
    let waiters = a.must("waiters", &[&lock.to_string()]);
    assert!(!waiters.has("waiters"), "waiters are counted where that is not claimed");
}
