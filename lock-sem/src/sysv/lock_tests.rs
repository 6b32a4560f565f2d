//! Tests of the protocol in one thread, against states that another process leaves.

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, ErrorKind, LockId, OpenMode, RawLock};
use lock_table::{Kind, Owner, Table, TableOptions};
use nix::fcntl::{FcntlArg, fcntl};

use super::gate::Inside;
use super::location::SetLocation;
use super::ownership::Ownership;
use super::run::Run;
use super::semaphore::Semaphore;
use super::set::{Outcome, Set};
use super::state::SysvLock;
use super::wait::Waiter;
use crate::sys::{self, step};

/// A process that does not exist. It counts as alive while the liveness lock of its entry is held.
const OTHER: Owner = Owner::from_word((1 << 40) | (ENTRY << 22) | 1);
const ENTRY: u64 = 16_383;

/// Longer than a thread keeps the unit of a held lock.
const LONG: Duration = Duration::from_millis(500);

const ID: LockId = LockId::new(3);

struct Fixture {
    lock: SysvLock,
    me: Owner,
    semaphore: Semaphore,
    set: Set,
    other: Option<File>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    /// Creates a lock that was acquired and released once.
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("store");
        let table = Table::open(&path, Kind::new("sem", 0), OpenMode::Create, &TableOptions::default()).unwrap();
        let location = Arc::new(SetLocation::of(&table).unwrap());
        let run = Run::of(&location, ID).unwrap();
        let semaphore = run.semaphore(ID).unwrap();
        let set = run.recorded_set().unwrap();
        let me = table.current_owner().unwrap();
        let lock = SysvLock::new(table.slot(ID).unwrap(), Arc::clone(&location), semaphore);
        let other = File::options().read(true).write(true).open(&path).unwrap();
        fcntl(&other, FcntlArg::F_OFD_SETLK(&byte((1 << 40) + ENTRY.cast_signed()))).unwrap();
        let fixture = Self { lock, me, semaphore, set, other: Some(other), _directory: directory };
        assert_eq!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::Held { token: 1 });
        fixture.release();
        fixture
    }

    fn release(&self) {
        self.lock.slot.line().clear_owner();
        self.lock.store(self.lock.ownership().released());
        assert_eq!(self.semaphore.give().unwrap(), Outcome::Done);
        self.leave();
    }

    fn leave(&self) {
        self.lock.gate().unwrap().leave(Inside::of(self.me));
    }

    fn is_acquired_by(&self, deadline: Deadline) -> bool {
        !matches!(self.lock.acquire(deadline).unwrap(), Acquired::TimedOut)
    }

    fn take_unit(&self) {
        assert_eq!(self.semaphore.try_take().unwrap(), Outcome::Done);
    }

    fn value(&self) -> u16 {
        sys::value(self.set.id(), self.number()).unwrap()
    }

    fn set_value(&self, value: u16) {
        sys::set_value(self.set.id(), self.number(), value).unwrap();
    }

    fn number(&self) -> u16 {
        ID.get() as u16
    }

    /// Acquires the lock with a unit that this thread took while the ownership was `before`.
    ///
    /// Returns whether it did.
    fn acquires_with_unit_of(&self, before: Ownership) -> bool {
        let gate = self
            .lock
            .gate()
            .unwrap()
            .enter(Inside::of(self.me), Inside::of(self.me), Deadline::Now, || false, || {})
            .unwrap()
            .unwrap();
        let acquired = Waiter::new(&self.lock, self.me, Deadline::Now, &gate).run(before, Outcome::Done, || {}).unwrap();
        let acquired = !matches!(acquired, Acquired::TimedOut);
        if acquired {
            gate.keep();
        }
        acquired
    }

    /// Leaves the lock as another process does that acquires it and loses its undo.
    fn held_by_other_without_undo(&self) -> Ownership {
        let theirs = self.lock.ownership().acquired_by(OTHER);
        self.lock.store(theirs);
        theirs
    }

    /// Waits for a lock that the other process holds, until all units are destroyed.
    fn waits_until_the_units_are_destroyed(&self, theirs: Ownership) {
        for _ in 0..100 {
            assert!(!self.is_acquired_by(Deadline::after(LONG)));
            assert_eq!(self.lock.ownership(), theirs);
            if self.value() == 0 {
                return;
            }
        }
        panic!("{} units are left", self.value());
    }

    /// Leaves the lock as another process does that takes it over and arms the semaphore.
    fn taken_over_by_other(&self) -> Ownership {
        let theirs = self.lock.ownership().taken_over_by(OTHER);
        self.lock.store(theirs);
        self.set_value(0);
        self.lock.store(theirs.armed());
        theirs.armed()
    }

    fn kill_other(&mut self) {
        self.other = None;
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.set.remove().unwrap();
    }
}

fn byte(at: i64) -> libc::flock {
    libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: at, l_len: 1, l_pid: 0 }
}

#[test]
fn an_owner_excludes_other_threads_of_its_process_from_the_semaphore() {
    let fixture = Fixture::new();
    let other_thread_enters = || {
        let (lock, other) = (&fixture.lock, Inside::of(Owner::from_word(fixture.me.word() + 1)));
        let guard = lock.gate().unwrap().enter(other, other, Deadline::Now, || lock.ownership().is_held_by(fixture.me), || {});
        guard.unwrap().is_some()
    };
    assert!(fixture.is_acquired_by(Deadline::Now));
    assert!(!other_thread_enters(), "a second thread of the process entered the gate");
    fixture.release();
    assert!(other_thread_enters());
}

#[test]
fn a_unit_that_a_takeover_cleared_does_not_acquire_the_lock() {
    let fixture = Fixture::new();
    let before = fixture.lock.ownership();
    fixture.take_unit();
    let theirs = fixture.taken_over_by_other();
    for theirs in [theirs, theirs.released()] {
        fixture.lock.store(theirs);
        assert!(!fixture.acquires_with_unit_of(before), "{theirs:?}");
        assert_eq!((fixture.lock.ownership(), fixture.value()), (theirs, 0));
    }
}

#[test]
fn a_unit_that_was_taken_after_a_takeover_acquires_the_lock() {
    let fixture = Fixture::new();
    let before = fixture.lock.ownership();
    let theirs = fixture.taken_over_by_other();
    fixture.lock.store(theirs.released());
    fixture.set_value(1);
    fixture.take_unit();
    assert!(fixture.acquires_with_unit_of(before));
    assert!(fixture.lock.ownership().is_of_same_term(theirs) && fixture.lock.ownership().is_held_by(fixture.me));
    fixture.release();
    assert!(fixture.is_acquired_by(Deadline::Now), "the release gave no unit back");
}

#[test]
fn an_owner_that_has_not_armed_the_semaphore_keeps_the_lock() {
    let fixture = Fixture::new();
    let before = fixture.lock.ownership();
    fixture.take_unit();
    let arming = before.taken_over_by(OTHER);
    fixture.lock.store(arming);
    assert!(!fixture.acquires_with_unit_of(before));
    assert!(!fixture.is_acquired_by(Deadline::Now));
    assert_eq!(fixture.lock.ownership(), arming);
}

#[test]
fn a_released_lock_is_busy_until_its_unit_is_given_back() {
    let fixture = Fixture::new();
    fixture.take_unit();
    let released = fixture.lock.ownership().acquired_by(fixture.me).released();
    fixture.lock.store(released);
    assert!(!fixture.is_acquired_by(Deadline::Now), "the lock was acquired before the unit was given back");
    assert_eq!(fixture.lock.ownership(), released);
}

#[test]
fn a_unit_does_not_acquire_the_lock_of_a_living_owner() {
    let fixture = Fixture::new();
    let theirs = fixture.held_by_other_without_undo();
    for _ in 0..3 {
        assert!(!fixture.is_acquired_by(Deadline::Now));
        assert_eq!((fixture.lock.ownership(), fixture.value()), (theirs, 1), "the waiter did not give the unit back");
    }
    fixture.waits_until_the_units_are_destroyed(theirs);
    assert!(!fixture.semaphore.is_taken_by_us().unwrap());
    fixture.lock.store(theirs.released());
    fixture.set_value(1);
    assert!(fixture.is_acquired_by(Deadline::Now));
}

#[test]
fn a_waiter_with_a_unit_acquires_the_lock_when_the_owner_releases_it_or_dies() {
    for dies in [false, true] {
        let mut fixture = Fixture::new();
        let theirs = fixture.held_by_other_without_undo();
        thread::scope(|scope| {
            let other = fixture.other.take();
            let fixture = &fixture;
            let waiter = scope.spawn(|| {
                let acquired = fixture.is_acquired_by(Deadline::Never);
                let me = fixture.lock.slot.current_owner(lock_table::thread::id()).unwrap();
                fixture.lock.gate().unwrap().leave(Inside::of(me));
                acquired
            });
            while fixture.value() != 0 {
                thread::yield_now();
            }
            assert!(!waiter.is_finished());
            if dies {
                drop(other);
            } else {
                fixture.lock.store(theirs.released());
            }
            assert!(waiter.join().unwrap());
            assert!(fixture.lock.ownership().is_held_by(fixture.me));
        });
        fixture.kill_other();
    }
}

#[test]
fn a_free_lock_without_a_unit_is_taken_over_after_a_delay() {
    let end = Deadline::after(Duration::from_secs(60));
    for waits in [true, false] {
        let fixture = Fixture::new();
        let before = fixture.lock.ownership();
        fixture.set_value(0);
        assert!(!fixture.is_acquired_by(Deadline::Now), "the lock was taken over before the delay");
        while !fixture.is_acquired_by(if waits { end } else { Deadline::Now }) {
            assert!(!end.remaining().unwrap().is_zero());
        }
        assert!(!fixture.lock.ownership().is_of_same_term(before) && fixture.semaphore.is_taken_by_us().unwrap());
        fixture.release();
        assert_eq!(fixture.value(), 1);
    }
}

#[test]
fn a_lock_whose_unit_cannot_be_given_back_is_taken_over() {
    let fixture = Fixture::new();
    assert!(fixture.is_acquired_by(Deadline::Now));
    let seal = crate::sysv::identity::seal_of(1024);
    let value = sys::value(fixture.set.id(), seal).unwrap();
    sys::set_value(fixture.set.id(), seal, 0).unwrap();
    let released = fixture.lock.ownership().released();
    let error = fixture.lock.disarm(released, fixture.semaphore.give()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error}");
    fixture.lock.store(released);
    fixture.lock.disarm(released, Ok(Outcome::Denied)).unwrap();
    fixture.leave();
    fixture.lock.slot.line().clear_owner();
    assert!(!fixture.lock.ownership().is_armed() && !fixture.lock.ownership().is_held());
    sys::set_value(fixture.set.id(), seal, value).unwrap();
    assert!(fixture.is_acquired_by(Deadline::Now));
    assert!(fixture.lock.ownership().is_armed());
}

#[test]
fn surplus_units_are_destroyed() {
    let fixture = Fixture::new();
    sys::operate(fixture.set.id(), &[step(fixture.number(), 2, libc::IPC_NOWAIT)]).unwrap();
    let theirs = fixture.held_by_other_without_undo();
    fixture.waits_until_the_units_are_destroyed(theirs);
}
