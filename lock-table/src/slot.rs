mod ownership;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::lock_line::Hot;
use crate::owner::Owner;
use crate::record::Record;
use crate::table::Table;
use lock_core::__private::Pinned;
use lock_core::{Generation, Holder, LockId, Result};

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
        Pinned::keeper(&self.hot)
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
