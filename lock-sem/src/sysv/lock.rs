use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::thread;
use std::time::Duration;

use lock_core::fork::PerProcess;
use lock_core::table::{Hot, Owner, Slot};
use lock_core::{Acquired, Deadline, ErrorKind, Generation, Holder, Proof, RawLock, Result, thread as this_thread};

use super::door::{Door, Entered};
use super::home::Home;
use super::run::{Run, gone};
use super::set::{Outcome, Set};
use super::tenure::Tenure;

/// The longest sleep. Whoever slept that long looks whether the owner lives.
const SLEEP: Duration = Duration::from_millis(200);

/// Looks at a tenure that will be armed at once this many times before it sleeps.
const YIELDS: u32 = 50;

/// A lock: a semaphore of a set, which is the door, and a tenure in the table, which is the truth.
///
/// # The protocol
/// - One thread of a process at a time does any of this, from its first attempt until it has given the unit back: it is inside the
///   process's own [`Door`]. So what the kernel says of the process is true of that thread.
/// - The semaphore has one unit when the lock is free. Who takes it, with undo, becomes the owner by exchanging the tenure; who
///   gives the lock up says so in the tenure and then gives the unit back. When an owner dies, the kernel gives the unit back.
/// - So who has the unit and finds somebody else in the tenure, in the term in which it took the unit, knows that one to be dead, or to be
///   in the middle of giving the lock up.
/// - A program that executes another one keeps the unit, and nobody comes through the door. Who finds an owner in the tenure who is proved to be dead
///   takes the lock over by exchanging the tenure, which begins a new term; then it *arms* the semaphore: it sets the value, which
///   clears what anybody would undo (the late end of the other program changes nothing), and takes the unit. A fresh lock
///   is taken in the same way.
/// - Only the owner of a tenure that is not armed sets the value. So a unit that was taken in a term is safe in that term. Who took one
///   in an earlier term cannot know whether it was cleared, and asks the kernel ([`Set::is_taken_by_us`]).
/// - Who would take over from a tenure that was given up needs proof of death, too: the unit may be on its way.
/// - When the set was removed with its store, handles exclude each other by the tenure alone, and look at it five times a second.
#[derive(Debug)]
pub(crate) struct SysvLock {
    slot: Slot,
    home: Arc<Home>,
    set: Set,
    semaphore: u16,
    door: PerProcess<Arc<Door>>,
}

impl SysvLock {
    pub(crate) fn new(slot: Slot, home: Arc<Home>, set: Set) -> Self {
        let semaphore = Run::semaphore_of(slot.id());
        Self { slot, home, set, semaphore, door: PerProcess::new() }
    }

    #[inline]
    fn door(&self) -> Result<&Door> {
        let door = self.door.get_or_try_init(|| Door::of(self.slot.table().id(), self.slot.id()))?;
        Ok(door)
    }

    #[inline]
    fn tenure(&self) -> Tenure {
        tenure_of(self.slot.hot())
    }

    #[inline]
    fn exchange(&self, old: Tenure, new: Tenure) -> bool {
        word_of(self.slot.hot()).compare_exchange(old.word(), new.word(), AcqRel, Acquire).is_ok()
    }

    /// For the owner alone.
    #[inline]
    fn store(&self, tenure: Tenure) {
        word_of(self.slot.hot()).store(tenure.word(), Release);
    }

    #[inline]
    fn begin(&self, me: Owner) -> Acquired {
        self.slot.begin(me)
    }

    /// Becomes the owner, having taken the unit while the tenure was `before`. `None` when the unit turns out to be lost, or the
    /// tenure somebody's who came in without.
    #[inline]
    fn enter(&self, me: Owner, before: Tenure) -> Result<Option<Acquired>> {
        loop {
            let now = self.tenure();
            if !now.is_armed() || (now.is_held() && now.process() == me.process()) {
                return Ok(None);
            }
            if !now.is_of_same_term(before) && !self.set.is_taken_by_us(self.semaphore)? {
                return Ok(None);
            }
            if self.exchange(now, now.entered_by(me)) {
                return Ok(Some(self.begin(me)));
            }
        }
    }

    /// Becomes the owner without the unit, where that is right.
    fn take_over(&self, me: Owner, now: Tenure, set_is_gone: bool) -> Result<Option<Acquired>> {
        let free = !now.is_held() && (!now.is_armed() || set_is_gone);
        if !free && !self.slot.table().is_dead(now.process()) {
            return Ok(None);
        }
        let mine = now.taken_over_by(me);
        if !self.exchange(now, mine) {
            return Ok(None);
        }
        match if set_is_gone { Ok(Outcome::Gone) } else { self.set.arm(self.semaphore) } {
            Ok(Outcome::Done) => self.store(mine.armed()),
            Ok(Outcome::Gone) if self.home.is_being_removed() => {}
            other => {
                self.store(mine.released());
                other?;
                return Err(gone(&self.home));
            }
        }
        Ok(Some(self.begin(me)))
    }

    #[inline]
    fn acquire_inside(&self, me: Owner, deadline: Deadline, entered: &Entered<'_>) -> Result<Acquired> {
        let now = self.tenure();
        let tried = if now.is_armed() { self.set.try_take(self.semaphore)? } else { Outcome::NotDone };
        if tried == Outcome::Done
            && let Some(acquired) = self.enter(me, now)?
        {
            return Ok(acquired);
        }
        self.acquire_slowly(me, deadline, tried, entered)
    }

    #[cold]
    fn acquire_slowly(&self, me: Owner, deadline: Deadline, tried: Outcome, entered: &Entered<'_>) -> Result<Acquired> {
        let mut set_is_gone = tried == Outcome::Gone && self.check_removal()?;
        let mut yields = 0;
        loop {
            let now = self.tenure();
            if let Some(acquired) = self.take_over(me, now, set_is_gone)? {
                return Ok(acquired);
            }
            let remaining = deadline.remaining().unwrap_or(SLEEP);
            if remaining.is_zero() {
                return Ok(Acquired::TimedOut);
            }
            entered.settle();
            let sleep = remaining.min(SLEEP);
            if set_is_gone {
                thread::sleep(sleep);
            } else if !now.is_armed() {
                // Its owner is about to arm it.
                yields += 1;
                if yields < YIELDS { thread::yield_now() } else { thread::sleep(sleep) }
            } else {
                match self.set.take_within(self.semaphore, sleep)? {
                    Outcome::Done => {
                        if let Some(acquired) = self.enter(me, now)? {
                            return Ok(acquired);
                        }
                    }
                    Outcome::NotDone => {}
                    Outcome::Gone => set_is_gone = self.check_removal()?,
                }
            }
        }
    }

    /// True when the set went with its store.
    fn check_removal(&self) -> Result<bool> {
        if self.home.is_being_removed() { Ok(true) } else { Err(gone(&self.home)) }
    }
}

pub(crate) fn tenure_of(hot: &Hot) -> Tenure {
    Tenure::from_word(word_of(hot).load(Acquire))
}

fn word_of(hot: &Hot) -> &AtomicU64 {
    &hot.spare[0]
}

impl RawLock for SysvLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let me = self.slot.me(this_thread::id())?;
        if self.slot.hot().owner() == me {
            return Err(ErrorKind::AlreadyHeld.into());
        }
        let Some(entered) = self.door()?.enter(deadline) else { return Ok(Acquired::TimedOut) };
        let acquired = self.acquire_inside(me, deadline, &entered)?;
        if acquired != Acquired::TimedOut {
            entered.stay();
        }
        Ok(acquired)
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let me = self.slot.me(this_thread::id())?;
        if self.slot.hot().owner() != me {
            return Err(ErrorKind::Lost.into());
        }
        self.slot.end(me, proof.condition());
        let now = self.tenure();
        self.store(now.released());
        // Where the semaphore was not armed, its set is gone, and others wait by looking.
        let given = if now.is_armed() { self.set.give(self.semaphore) } else { Ok(Outcome::Done) };
        self.door()?.leave();
        if given? == Outcome::Gone {
            self.check_removal()?;
        }
        Ok(())
    }

    fn mark_consistent(&self) -> Result<()> {
        if self.slot.hot().owner() != self.slot.me(this_thread::id())? {
            return Err(ErrorKind::Lost.into());
        }
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.slot.holder())
    }

    fn waiters(&self) -> Option<u32> {
        let in_front = self.door().map_or(0, Door::queue);
        self.set.waiters(self.semaphore).map(|in_the_kernel| in_the_kernel + in_front)
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use lock_core::table::{Kind, Table, TableOptions};
    use lock_core::{LockId, OpenMode};
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::*;
    use crate::sys;

    /// A process that is not there, and counts as one that lives, since the lock of its seat is held.
    const OTHER: Owner = Owner::from_word((1 << 38) | (SEAT << 22) | 1);
    const SEAT: u64 = 16_383;

    struct Fixture {
        lock: SysvLock,
        me: Owner,
        _seat: File,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        /// A lock that was taken and released once.
        fn new() -> Self {
            let directory = tempfile::tempdir_in("/dev/shm").unwrap();
            let path = directory.path().join("store");
            let table = Table::open(&path, Kind::new("sem", 0), OpenMode::Create, &TableOptions::default()).unwrap();
            let home = Arc::new(Home::of(&table).unwrap());
            let id = LockId::new(3);
            let set = Run::of(&home, id).unwrap().set().unwrap();
            let me = table.me().unwrap();
            let lock = SysvLock::new(table.slot(id).unwrap(), home, set);
            let seat = File::options().read(true).write(true).open(&path).unwrap();
            fcntl(&seat, FcntlArg::F_OFD_SETLK(&byte((1 << 40) + SEAT.cast_signed()))).unwrap();
            let fixture = Self { lock, me, _seat: seat, _directory: directory };
            assert_eq!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::Held { token: 1 });
            fixture.release();
            fixture
        }

        fn release(&self) {
            self.lock.slot.hot().end();
            self.lock.store(self.lock.tenure().released());
            assert_eq!(self.lock.set.give(self.lock.semaphore).unwrap(), Outcome::Done);
            self.lock.door().unwrap().leave();
        }

        fn take_unit(&self) {
            assert_eq!(self.lock.set.try_take(self.lock.semaphore).unwrap(), Outcome::Done);
        }

        /// What another process does that takes over, as far as it has come when it armed the semaphore.
        fn taken_over_by_other(&self) -> Tenure {
            let theirs = self.lock.tenure().taken_over_by(OTHER);
            self.lock.store(theirs);
            sys::set_value(self.lock.set.id(), self.lock.semaphore, 0).unwrap();
            self.lock.store(theirs.armed());
            theirs.armed()
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            self.lock.set.remove().unwrap();
        }
    }

    fn byte(at: i64) -> libc::flock {
        libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: at, l_len: 1, l_pid: 0 }
    }

    #[test]
    fn who_has_the_lock_keeps_other_threads_of_its_process_from_the_semaphore() {
        let fixture = Fixture::new();
        let another_comes = || fixture.lock.door().unwrap().enter(Deadline::Now).is_some();
        assert_ne!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::TimedOut);
        assert!(!another_comes(), "what the kernel says of the process would no longer be true of one thread");
        fixture.release();
        assert!(another_comes());
    }

    #[test]
    fn a_unit_that_a_takeover_cleared_is_no_way_in() {
        let fixture = Fixture::new();
        let before = fixture.lock.tenure();
        fixture.take_unit();
        let theirs = fixture.taken_over_by_other();
        for theirs in [theirs, theirs.released()] {
            fixture.lock.store(theirs);
            assert!(fixture.lock.enter(fixture.me, before).unwrap().is_none(), "{theirs:?}");
            assert_eq!(fixture.lock.tenure(), theirs);
        }
    }

    #[test]
    fn a_unit_that_was_got_after_a_takeover_is_known_to_be_whole() {
        let fixture = Fixture::new();
        let before = fixture.lock.tenure();
        let theirs = fixture.taken_over_by_other();
        fixture.lock.store(theirs.released());
        sys::set_value(fixture.lock.set.id(), fixture.lock.semaphore, 1).unwrap();
        fixture.take_unit();
        assert!(fixture.lock.enter(fixture.me, before).unwrap().is_some());
        assert!(fixture.lock.tenure().is_of_same_term(theirs) && fixture.lock.tenure().process() == fixture.me.process());
        fixture.release();
        assert_ne!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::TimedOut, "the unit was given back");
    }

    #[test]
    fn who_is_about_to_arm_the_semaphore_is_not_run_over() {
        let fixture = Fixture::new();
        let before = fixture.lock.tenure();
        fixture.take_unit();
        let arming = before.taken_over_by(OTHER);
        fixture.lock.store(arming);
        assert!(fixture.lock.enter(fixture.me, before).unwrap().is_none());
        assert_eq!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::TimedOut);
        assert_eq!(fixture.lock.tenure(), arming);
    }

    #[test]
    fn a_lock_on_its_way_back_is_not_taken_over_from_who_lives() {
        let fixture = Fixture::new();
        fixture.take_unit();
        let released = fixture.lock.tenure().entered_by(fixture.me).released();
        fixture.lock.store(released);
        assert_eq!(fixture.lock.acquire(Deadline::Now).unwrap(), Acquired::TimedOut, "the unit is not back yet");
        assert_eq!(fixture.lock.tenure(), released);
    }
}
