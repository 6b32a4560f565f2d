//! The state of a lock: its tenure in the table and its semaphore.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use lock_core::{Acquired, PerProcess, Result};
use lock_table::{Hot, Owner, Slot};

use super::door::Door;
use super::home::Home;
use super::semaphore::Semaphore;
use super::tenure::Tenure;

/// A lock: a tenure in the table, which decides, and a semaphore of a set, which tells waiters when to read it.
///
/// # The protocol
/// - One thread of a process at a time does any of this, from its first attempt until it has given the unit back: it is inside
///   the process's own [`Door`]. So what the kernel says of the process is true of that thread.
/// - The semaphore has one unit when the lock is free. A process takes the unit, with undo, and then exchanges the tenure: from a
///   tenure that is not held, or whose owner is proved dead. To release the lock, the owner writes that into the tenure, and then
///   gives the unit back. When an owner dies, the kernel gives its unit back.
/// - A unit is no proof: the kernel also gives it back when an owner leaves its IPC namespace (`unshare`), and any program of the
///   user may set the value. A thread that has a unit while the tenure is held keeps it, and waits for the release or for proof
///   of death. After a while it destroys the unit, because the owner will give another one.
/// - A program that executes another one keeps its unit, and no other process gets one. A thread that finds an owner in the
///   tenure that is proved dead takes the lock over by exchanging the tenure, which begins a new term; then it *arms* the
///   semaphore: it sets the value, which clears what any process would undo (the late end of the other program changes nothing),
///   and takes the unit. A fresh lock is taken in the same way, and so is a lock that has been free for
///   [`MISSING`](super::waiting::MISSING) without giving a unit: the unit was lost.
/// - Only the owner of a tenure that is not armed sets the value. So a unit that was taken in a term is safe in that term. A
///   thread that took one in an earlier term cannot know whether it was cleared, and asks the kernel
///   ([`Semaphore::is_taken_by_us`]).
/// - An owner that cannot give the unit back, because it is in another IPC namespace or may not change the set any more, leaves
///   the tenure unarmed.
/// - When the set was removed with its store, handles exclude each other by the tenure alone, and read it five times a second.
#[derive(Debug)]
pub(crate) struct SysvLock {
    pub(super) slot: Slot,
    pub(super) home: Arc<Home>,
    pub(super) semaphore: Semaphore,
    door: PerProcess<Arc<Door>>,
}

impl SysvLock {
    pub(crate) fn new(slot: Slot, home: Arc<Home>, semaphore: Semaphore) -> Self {
        Self { slot, home, semaphore, door: PerProcess::new() }
    }

    /// This process's door. Before its first use of the lock, the process checks that it is where the semaphores are.
    #[inline]
    pub(super) fn door(&self) -> Result<&Door> {
        let door = self.door.get_or_try_init(|| {
            self.home.check()?;
            let table = self.slot.table();
            Door::of(table.id(), table.device_and_inode(), self.slot.id())
        })?;
        Ok(door)
    }

    #[inline]
    pub(super) fn tenure(&self) -> Tenure {
        Tenure::from_word(word_of(self.slot.hot()).load(Acquire))
    }

    #[inline]
    pub(super) fn exchange(&self, old: Tenure, new: Tenure) -> bool {
        word_of(self.slot.hot()).compare_exchange(old.word(), new.word(), AcqRel, Acquire).is_ok()
    }

    /// For the owner alone.
    #[inline]
    pub(super) fn store(&self, tenure: Tenure) {
        word_of(self.slot.hot()).store(tenure.word(), Release);
    }

    /// Becomes the owner, having taken the unit while the tenure was `before`, if the tenure is free and still of that term.
    #[inline]
    pub(super) fn enter(&self, me: Owner, before: Tenure) -> Option<Acquired> {
        let now = self.tenure();
        let free = now.is_armed() && !now.is_held() && now.is_of_same_term(before);
        (free && self.exchange(now, now.entered_by(me))).then(|| self.slot.begin(me))
    }
}

fn word_of(hot: &Hot) -> &AtomicU64 {
    &hot.spare[0]
}
