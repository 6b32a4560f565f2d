//! One thread's part of the protocol, against what another process did.

use std::fs::File;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, ErrorKind, LockId, OpenMode, RawLock};
use lock_table::{Kind, Owner, Table, TableOptions};
use nix::fcntl::{FcntlArg, fcntl};

use super::home::Home;
use super::run::Run;
use super::semaphore::Semaphore;
use super::set::{Outcome, Set};
use super::state::SysvLock;
use super::tenure::Tenure;
use crate::sys::{self, step};

/// A process that is not there, and that counts as one that lives while the byte of its entry is locked.
const OTHER: Owner = Owner::from_word((1 << 40) | (ENTRY << 22) | 1);
const ENTRY: u64 = 16_383;

/// Longer than a thread keeps a unit of a lock that is held.
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
    /// A lock that was acquired and released once.
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("store");
        let table = Table::open(&path, Kind::new("sem", 0), OpenMode::Create, &TableOptions::default()).unwrap();
        let home = Arc::new(Home::of(&table).unwrap());
        let run = Run::of(&home, ID).unwrap();
        let semaphore = run.semaphore(ID).unwrap();
        let set = run.present_set().unwrap();
        let me = table.me().unwrap();
        let lock = SysvLock::new(table.slot(ID).unwrap(), Arc::clone(&home), semaphore);
        let other = File::options().read(true).write(true).open(&path).unwrap();
        fcntl(&other, FcntlArg::F_OFD_SETLK(&byte((1 << 40) + ENTRY.cast_signed()))).unwrap();
        let fixture = Self { lock, me, semaphore, set, other: Some(other), _directory: directory };
        assert_eq!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::Held { token: 1 });
        fixture.release();
        fixture
    }

    fn release(&self) {
        self.lock.slot.hot().end();
        self.lock.store(self.lock.tenure().released());
        assert_eq!(self.semaphore.give().unwrap(), Outcome::Done);
        self.leave();
    }

    fn leave(&self) {
        self.lock.door().unwrap().leave(self.me.tid());
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

    /// What this thread does with a unit that it took while the tenure was `before`.
    fn enters(&self, before: Tenure) -> bool {
        let entered = self.lock.door().unwrap().enter(self.me.tid(), Deadline::Now, || false).unwrap().unwrap();
        let acquired =
            super::waiting::Waiting::new(&self.lock, self.me, Deadline::Now, &entered).run(before, Outcome::Done).unwrap();
        let acquired = !matches!(acquired, Acquired::TimedOut);
        if acquired {
            entered.stay();
        }
        acquired
    }

    /// What another process does that acquires the lock, and loses its undo.
    fn held_by_other_without_undo(&self) -> Tenure {
        let theirs = self.lock.tenure().entered_by(OTHER);
        self.lock.store(theirs);
        theirs
    }

    /// Waits for a lock that the other process has, until no unit is left: the owner will give one.
    fn waits_until_the_units_are_destroyed(&self, theirs: Tenure) {
        for _ in 0..100 {
            assert!(!self.is_acquired_by(Deadline::after(LONG)));
            assert_eq!(self.lock.tenure(), theirs);
            if self.value() == 0 {
                return;
            }
        }
        panic!("{} units are left", self.value());
    }

    /// What another process does that takes over, as far as it is when it has armed the semaphore.
    fn taken_over_by_other(&self) -> Tenure {
        let theirs = self.lock.tenure().taken_over_by(OTHER);
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
fn an_owner_keeps_other_threads_of_its_process_from_the_semaphore() {
    let fixture = Fixture::new();
    let another_enters = || {
        let lock = &fixture.lock;
        let entered = lock.door().unwrap().enter(fixture.me.tid() + 1, Deadline::Now, || lock.tenure().is_held_by(fixture.me));
        entered.unwrap().is_some()
    };
    assert!(fixture.is_acquired_by(Deadline::Now));
    assert!(!another_enters(), "what the kernel says of the process would no longer be true of one thread");
    fixture.release();
    assert!(another_enters());
}

#[test]
fn a_unit_that_a_takeover_cleared_does_not_count() {
    let fixture = Fixture::new();
    let before = fixture.lock.tenure();
    fixture.take_unit();
    let theirs = fixture.taken_over_by_other();
    for theirs in [theirs, theirs.released()] {
        fixture.lock.store(theirs);
        assert!(!fixture.enters(before), "{theirs:?}");
        assert_eq!((fixture.lock.tenure(), fixture.value()), (theirs, 0));
    }
}

#[test]
fn a_unit_that_was_taken_after_a_takeover_counts() {
    let fixture = Fixture::new();
    let before = fixture.lock.tenure();
    let theirs = fixture.taken_over_by_other();
    fixture.lock.store(theirs.released());
    fixture.set_value(1);
    fixture.take_unit();
    assert!(fixture.enters(before));
    assert!(fixture.lock.tenure().is_of_same_term(theirs) && fixture.lock.tenure().is_held_by(fixture.me));
    fixture.release();
    assert!(fixture.is_acquired_by(Deadline::Now), "the unit was given back");
}

#[test]
fn a_process_that_is_about_to_arm_the_semaphore_keeps_the_lock() {
    let fixture = Fixture::new();
    let before = fixture.lock.tenure();
    fixture.take_unit();
    let arming = before.taken_over_by(OTHER);
    fixture.lock.store(arming);
    assert!(!fixture.enters(before));
    assert!(!fixture.is_acquired_by(Deadline::Now));
    assert_eq!(fixture.lock.tenure(), arming);
}

#[test]
fn a_lock_whose_unit_is_about_to_be_given_is_not_taken_over_from_a_living_owner() {
    let fixture = Fixture::new();
    fixture.take_unit();
    let released = fixture.lock.tenure().entered_by(fixture.me).released();
    fixture.lock.store(released);
    assert!(!fixture.is_acquired_by(Deadline::Now), "the unit is not back yet");
    assert_eq!(fixture.lock.tenure(), released);
}

#[test]
fn a_unit_lets_no_thread_in_while_a_living_owner_has_the_lock() {
    let fixture = Fixture::new();
    let theirs = fixture.held_by_other_without_undo();
    for _ in 0..3 {
        assert!(!fixture.is_acquired_by(Deadline::Now));
        assert_eq!((fixture.lock.tenure(), fixture.value()), (theirs, 1), "the unit is given back");
    }
    fixture.waits_until_the_units_are_destroyed(theirs);
    assert!(!fixture.semaphore.is_taken_by_us().unwrap());
    fixture.lock.store(theirs.released());
    fixture.set_value(1);
    assert!(fixture.is_acquired_by(Deadline::Now));
}

#[test]
fn a_thread_that_keeps_a_unit_acquires_the_lock_when_its_owner_releases_it_or_dies() {
    for dies in [false, true] {
        let mut fixture = Fixture::new();
        let theirs = fixture.held_by_other_without_undo();
        thread::scope(|scope| {
            let other = fixture.other.take();
            let fixture = &fixture;
            let waiter = scope.spawn(|| {
                let acquired = fixture.is_acquired_by(Deadline::Never);
                fixture.lock.door().unwrap().leave(lock_table::thread::id());
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
            assert!(fixture.lock.tenure().is_held_by(fixture.me));
        });
        fixture.kill_other();
    }
}

#[test]
fn a_lock_that_is_free_without_a_unit_is_taken_over_after_a_while() {
    let end = Deadline::after(Duration::from_secs(60));
    for waits in [true, false] {
        let fixture = Fixture::new();
        let before = fixture.lock.tenure();
        fixture.set_value(0);
        assert!(!fixture.is_acquired_by(Deadline::Now), "the unit may be about to be given");
        while !fixture.is_acquired_by(if waits { end } else { Deadline::Now }) {
            assert!(!end.remaining().unwrap().is_zero());
        }
        assert!(!fixture.lock.tenure().is_of_same_term(before) && fixture.semaphore.is_taken_by_us().unwrap());
        fixture.release();
        assert_eq!(fixture.value(), 1);
    }
}

#[test]
fn a_lock_whose_unit_cannot_be_given_is_free_for_a_takeover() {
    let fixture = Fixture::new();
    assert!(fixture.is_acquired_by(Deadline::Now));
    let seal = crate::sysv::identity::seal_of(1024);
    let value = sys::value(fixture.set.id(), seal).unwrap();
    sys::set_value(fixture.set.id(), seal, 0).unwrap();
    let released = fixture.lock.tenure().released();
    let error = fixture.lock.not_given(released, fixture.semaphore.give()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "a stranger changed the set: {error}");
    fixture.lock.store(released);
    fixture.lock.not_given(released, Ok(Outcome::Denied)).unwrap();
    fixture.leave();
    fixture.lock.slot.hot().end();
    assert!(!fixture.lock.tenure().is_armed() && !fixture.lock.tenure().is_held());
    sys::set_value(fixture.set.id(), seal, value).unwrap();
    assert!(fixture.is_acquired_by(Deadline::Now));
    assert!(fixture.lock.tenure().is_armed());
}

#[test]
fn units_of_other_processes_do_not_pile_up() {
    let fixture = Fixture::new();
    sys::operate(fixture.set.id(), &[step(fixture.number(), 2, libc::IPC_NOWAIT)]).unwrap();
    let theirs = fixture.held_by_other_without_undo();
    fixture.waits_until_the_units_are_destroyed(theirs);
}
