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

/// One lock of a table: its line, its allocation, and the table itself, which it keeps open and mapped.
pub struct Slot {
    hot: Pinned<Table, Hot>,
    generation: Pinned<Table, AtomicU64>,
    death: Pinned<Table, AtomicU64>,
    /// The calling process as an owner, without a thread; and the same if it is at home.
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

    /// The id.
    pub fn id(&self) -> LockId {
        self.id
    }

    /// The table.
    pub fn table(&self) -> &Arc<Table> {
        Pinned::owner(&self.hot)
    }

    /// The line.
    #[inline]
    pub fn hot(&self) -> &Hot {
        &self.hot
    }

    /// The present allocation of the id.
    pub fn generation(&self) -> Generation {
        Record::generation_of(&self.generation)
    }

    /// The owner that is written down, where it lives.
    pub fn holder(&self) -> Option<Holder> {
        let owner = self.hot.owner();
        (!owner.is_none() && !self.table().is_dead(owner)).then(|| self.table().describe(owner))
    }

    /// The word of a thread of this process, which says what its id is; see [`Table::me`].
    ///
    /// # Errors
    /// Those of [`Table::me`].
    #[inline]
    pub fn me(&self, tid: u32) -> Result<Owner> {
        match self.process[0].load(Relaxed) {
            0 => self.table().owner_word(tid),
            process => Ok(Owner::from_word(process).with_thread(tid)),
        }
    }

    /// The same if this process is registered in the store and [at home](Table::is_at_home) there.
    #[inline]
    pub fn me_at_home(&self, tid: u32) -> Option<Owner> {
        let process = self.process[1].load(Relaxed);
        (process != 0).then(|| Owner::from_word(process).with_thread(tid))
    }

    /// Whether a thread of this process is written down as the owner, and the process is at home.
    #[inline]
    pub fn is_owned_at_home_by(&self, tid: u32) -> bool {
        // A process that is not at home has the word 0, which with a thread is no owner's.
        self.hot.owner() == Owner::from_word(self.process[1].load(Relaxed)).with_thread(tid)
    }

    /// Writes the new owner down, called by it right after it took the lock; says what to return from the acquisition.
    ///
    /// If an owner is written down, the caller has found out that it is dead.
    #[inline]
    pub fn begin(&self, me: Owner) -> Acquired {
        match self.hot.owner().word() {
            0 => Acquired::Held { token: self.hot.begin(me) },
            _ => self.begin_after(me),
        }
    }

    #[cold]
    fn begin_after(&self, me: Owner) -> Acquired {
        let death = self.take_note(self.hot.owner());
        let token = self.hot.begin(me);
        self.acquired(token, death)
    }

    /// The same for a backend whose own lock may let two threads in, such as a file that was removed while it was locked: only one of
    /// them takes the place of `before`, which each has read and found to be none, or dead. `None` for the others.
    #[inline]
    pub fn begin_instead_of(&self, before: Owner, me: Owner) -> Option<Acquired> {
        let token = self.hot.begin_instead_of(before, me)?;
        Some(match before.word() {
            0 => Acquired::Held { token },
            _ => self.acquired(token, self.take_note(before)),
        })
    }

    /// The same where the lock was taken away from the owner that is written down, which lives. That is no death, but one that was reported
    /// to that owner is reported further.
    #[cold]
    pub fn begin_after_break(&self, me: Owner) -> Acquired {
        let death = self.take_note(Owner::INCONSISTENT);
        let token = self.hot.begin(me);
        self.acquired(token, death)
    }

    /// What to return from an acquisition, given what [`Slot::take_note`] said.
    pub fn acquired(&self, token: u64, death: Option<Death>) -> Acquired {
        match death {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        }
    }

    /// What the next owner is told after this one, whose word is replaced afterwards. It is written down first, so that
    /// each further owner is told, too, until [`Slot::mark_consistent`].
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

    /// Removes the owner and leaves what the lock protects in this condition; called by the owner, right before it gives the lock up. True
    /// when the next owner is told something.
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

    /// The same unless the lock was taken away from the calling owner, and the next owner is written down. Then false, and nothing is
    /// changed.
    #[inline]
    pub fn end_unless_lost(&self, me: Owner, condition: Condition) -> bool {
        let ended = |left: Owner| {
            compiler_fence(std::sync::atomic::Ordering::SeqCst);
            self.hot.owner.compare_exchange(me.word(), left.word(), Release, Relaxed).is_ok()
        };
        match condition {
            Condition::Consistent => return ended(Owner::NONE),
            // First, because the next owner reads it.
            Condition::Panicked if self.hot.owner() == me => {
                self.death.store(me.with_note(Cause::Panicked.number()).word(), Relaxed);
            }
            Condition::Panicked => return false,
            _ => {}
        }
        ended(Owner::INCONSISTENT)
    }

    /// Forgets the death that the calling owner was told of.
    pub fn mark_consistent(&self) {
        self.death.store(0, Relaxed);
    }
}

impl Table {
    /// The lock with this id, allocated or not, ready to be touched.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange), [`ErrorKind::Limit`](lock_core::ErrorKind::Limit), [`ErrorKind::Destroyed`](lock_core::ErrorKind::Destroyed); [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file was cut off.
    /// Whether the table has its name still is not looked at: see [`Table::check`].
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
