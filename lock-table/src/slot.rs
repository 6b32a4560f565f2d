use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicU64, compiler_fence};

use crate::lock_line::Hot;
use crate::owner::Owner;
use crate::record::Record;
use crate::table::Table;
use lock_core::__private::Pinned;
use lock_core::{Acquired, Cause, Condition, Death, Generation, Holder, LockId, Recovery, Result};

/// A lock of a table: references to its line and to words of its record.
///
/// It keeps the table open and mapped.
pub struct Slot {
    hot: Pinned<Table, Hot>,
    generation: Pinned<Table, AtomicU64>,
    death: Pinned<Table, AtomicU64>,
    /// The owner word of this process without a thread, and the same word if the process is at home. Both are 0 after a fork.
    process: &'static [AtomicU64; 2],
    id: LockId,
}

impl Slot {
    pub(crate) fn new(
        hot: Pinned<Table, Hot>,
        generation: Pinned<Table, AtomicU64>,
        death: Pinned<Table, AtomicU64>,
        process: &'static [AtomicU64; 2],
        id: LockId,
    ) -> Self {
        Self { hot, generation, death, process, id }
    }

    /// Returns the id.
    pub fn id(&self) -> LockId {
        self.id
    }

    /// Returns the table.
    pub fn table(&self) -> &Arc<Table> {
        Pinned::owner(&self.hot)
    }

    /// Returns the line.
    #[inline]
    pub fn hot(&self) -> &Hot {
        &self.hot
    }

    /// Returns the current generation of the id.
    pub fn generation(&self) -> Generation {
        Record::generation_of(&self.generation)
    }

    /// Returns the recorded owner, or `None` if there is none or it is dead.
    pub fn holder(&self) -> Option<Holder> {
        let owner = self.hot.owner();
        (!owner.is_none() && !self.table().is_dead(owner)).then(|| self.table().describe(owner))
    }

    /// Returns the owner word of the thread of this process with the id `tid`. See [`Table::me`].
    ///
    /// # Errors
    /// As [`Table::me`].
    #[inline]
    pub fn me(&self, tid: u32) -> Result<Owner> {
        match self.process[0].load(Relaxed) {
            0 => self.table().owner_word(tid),
            process => Ok(Owner::from_word(process).with_thread(tid)),
        }
    }

    /// Returns the owner word of a thread of this process, or `None` if it is not registered or not at home.
    ///
    /// See [`Slot::me`] and [`Table::is_at_home`].
    #[inline]
    pub fn me_at_home(&self, tid: u32) -> Option<Owner> {
        let process = self.process[1].load(Relaxed);
        (process != 0).then(|| Owner::from_word(process).with_thread(tid))
    }

    /// Returns true if the recorded owner is this thread of this process, and the process is [at home](Table::is_at_home).
    #[inline]
    pub fn is_owned_at_home_by(&self, tid: u32) -> bool {
        // A process that is not at home has the word 0. With a thread id, that is not the word of any owner.
        self.hot.owner() == Owner::from_word(self.process[1].load(Relaxed)).with_thread(tid)
    }

    /// Records the calling thread as the owner, and returns the result of its acquisition.
    ///
    /// The caller has just acquired the lock. If an owner is recorded, the caller has proven its death.
    #[inline]
    pub fn begin(&self, me: Owner) -> Acquired {
        match self.hot.owner().word() {
            0 => Acquired::Held { token: self.hot.begin(me) },
            _ => self.begin_after_death(me),
        }
    }

    #[cold]
    fn begin_after_death(&self, me: Owner) -> Acquired {
        let death = self.take_note(self.hot.owner());
        let token = self.hot.begin(me);
        self.acquired(token, death)
    }

    /// Records the calling thread as the owner if `before` is still recorded. Returns `None` otherwise.
    ///
    /// For a backend whose lock can admit two threads, such as a file lock when the file is removed and created again. Both threads have
    /// read `before`, which is no owner or a dead one, and only one of them replaces it.
    #[inline]
    pub fn begin_instead_of(&self, before: Owner, me: Owner) -> Option<Acquired> {
        let token = self.hot.begin_instead_of(before, me)?;
        Some(match before.word() {
            0 => Acquired::Held { token },
            _ => self.acquired(token, self.take_note(before)),
        })
    }

    /// Records the calling thread as the owner after the lock of a live owner was broken.
    ///
    /// Breaking a lock is not a death. A death that was reported to the previous owner is reported again.
    #[cold]
    pub fn begin_after_break(&self, me: Owner) -> Acquired {
        let death = self.take_note(Owner::INCONSISTENT);
        let token = self.hot.begin(me);
        self.acquired(token, death)
    }

    /// Returns the result of an acquisition, given the result of [`Slot::take_note`].
    pub fn acquired(&self, token: u64, death: Option<Death>) -> Acquired {
        match death {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        }
    }

    /// Records the death of the owner `before`, and returns the report for the next owner.
    ///
    /// The caller replaces the owner word afterwards. The death is recorded first, so that it is not lost when the caller is killed.
    /// Each next owner gets the report until [`Slot::mark_consistent`] is called.
    #[cold]
    pub fn take_note(&self, before: Owner) -> Option<Death> {
        if !before.is_none() {
            let cause = self.table().cause(before);
            self.death.store(before.with_note(cause.number()).word(), Relaxed);
        } else if !before.is_inconsistent() {
            return None;
        }
        let dead = Owner::from_word(self.death.load(Relaxed));
        let holder = self.table().describe(dead.with_note(0));
        (dead.word() != 0).then(|| Death::of(Some(holder)).with_cause(Cause::of_number(dead.note())))
    }

    /// Removes the recorded owner and records the condition of the protected data.
    ///
    /// The owner calls this immediately before it releases the lock. Returns true if the next owner gets a report.
    pub fn end(&self, me: Owner, condition: Condition) -> bool {
        match condition {
            Condition::Consistent => {
                self.hot.end();
                return false;
            }
            Condition::Panicked => self.death.store(me.with_note(Cause::Panicked.number()).word(), Relaxed),
            _ => {}
        }
        self.hot.end_inconsistent();
        true
    }

    /// Removes the recorded owner as [`Slot::end`] does, if the owner is still the caller.
    ///
    /// Returns false and changes nothing when another owner is recorded, because the lock was broken.
    #[inline]
    pub fn end_unless_lost(&self, me: Owner, condition: Condition) -> bool {
        let ended = |left: Owner| {
            compiler_fence(std::sync::atomic::Ordering::SeqCst);
            self.hot.owner.compare_exchange(me.word(), left.word(), Release, Relaxed).is_ok()
        };
        match condition {
            Condition::Consistent => return ended(Owner::NONE),
            // The next owner reads the death, so it is written before the owner is removed.
            Condition::Panicked if self.hot.owner() == me => {
                self.death.store(me.with_note(Cause::Panicked.number()).word(), Relaxed);
            }
            Condition::Panicked => return false,
            _ => {}
        }
        ended(Owner::INCONSISTENT)
    }

    /// Discards the recorded death. Called by the owner that got the report.
    pub fn mark_consistent(&self) {
        self.death.store(0, Relaxed);
    }
}

impl Table {
    /// Returns the lock with this id, which need not be allocated. Its memory is backed by blocks.
    ///
    /// The name of the file is not checked: see [`Table::check`].
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], [`ErrorKind::Limit`], [`ErrorKind::Destroyed`]; [`ErrorKind::Corrupt`] when the file was truncated.
    ///
    /// [`ErrorKind::OutOfRange`]: lock_core::ErrorKind::OutOfRange
    /// [`ErrorKind::Limit`]: lock_core::ErrorKind::Limit
    /// [`ErrorKind::Destroyed`]: lock_core::ErrorKind::Destroyed
    /// [`ErrorKind::Corrupt`]: lock_core::ErrorKind::Corrupt
    pub fn slot(self: &Arc<Self>, id: LockId) -> Result<Slot> {
        self.check_whole()?;
        self.check_mark()?;
        let (segment, index) = self.find(id)?;
        segment.back_group(&self.file, index)?;
        let hot = Pinned::new(Arc::clone(self), |table| table.find(id).map(|(segment, index)| segment.touch(index)))?;
        let record = |word: for<'a> fn(Record<'a>) -> &'a AtomicU64| {
            Pinned::new(Arc::clone(self), |table| table.find(id).map(|(segment, index)| word(segment.record(index))))
        };
        let (generation, death) = (record(|record| record.generation_word())?, record(|record| record.death_word())?);
        Ok(Slot::new(hot, generation, death, self.process.words(), id))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("table", &self.table().path()).field("id", &self.id.get()).finish_non_exhaustive()
    }
}
