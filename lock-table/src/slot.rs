mod ownership;
mod queue;
mod waiting;

pub use self::queue::{Announcement, Queue};
pub use self::waiting::Waiting;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::lock_line::LockLine;
use crate::owner::Owner;
use crate::record::{Record, RecordWords};
use crate::table::Table;
use lock_core::__private::PinnedPair;
use lock_core::{Error, Generation, HeldBy, Holder, LockId, Result};

/// A lock of a table: references to its line and to words of its record.
///
/// It keeps the table open and mapped.
pub struct Slot {
    line_and_record: PinnedPair<Table, LockLine, RecordWords>,
    /// The owner word of this process without a thread, and the same word if the process is at home. Both are 0 after a fork.
    process: &'static [AtomicU64; 2],
    id: LockId,
}

impl Slot {
    /// Returns the id.
    pub fn id(&self) -> LockId {
        self.id
    }

    /// Returns the table.
    pub fn table(&self) -> &Arc<Table> {
        self.line_and_record.owner()
    }

    /// Returns the line.
    #[inline]
    pub fn line(&self) -> &LockLine {
        self.line_and_record.first()
    }

    /// Returns the current generation of the id.
    pub fn generation(&self) -> Generation {
        Record::new(self.line_and_record.second()).generation()
    }

    /// Returns the word that contains the recorded death.
    fn death(&self) -> &AtomicU64 {
        Record::new(self.line_and_record.second()).death_word()
    }

    /// Returns the recorded owner, or `None` if there is none or it is dead.
    pub fn holder(&self) -> Option<Holder> {
        let owner = self.line().owner();
        (!owner.is_none() && !self.table().is_dead(owner)).then(|| self.table().describe(owner))
    }

    /// Returns the recorded owner after a wait that timed out, dead or alive.
    pub fn held_by(&self) -> HeldBy {
        self.table().held_by(self.line().owner())
    }

    /// Returns the owner word of the thread of this process with the id `tid`. See [`Table::current_owner`].
    ///
    /// # Errors
    /// As [`Table::current_owner`].
    #[inline]
    pub fn current_owner(&self, tid: u32) -> Result<Owner> {
        match self.process[0].load(Relaxed) {
            0 => self.table().owner_word(tid),
            process => Ok(Owner::from_word(process).with_thread(tid)),
        }
    }

    /// Returns the owner word of a thread of this process, or `None` if it is not registered or not at home.
    ///
    /// See [`Slot::current_owner`] and [`Table::is_at_home`].
    #[inline]
    pub fn current_owner_at_home(&self, tid: u32) -> Option<Owner> {
        let process = self.process[1].load(Relaxed);
        (process != 0).then(|| Owner::from_word(process).with_thread(tid))
    }

    /// Returns true if the recorded owner is this thread of this process, and the process is [at home](Table::is_at_home).
    #[inline]
    pub fn is_owned_at_home_by(&self, tid: u32) -> bool {
        // A process that is not at home has the word 0. With a thread id, that is not the word of any owner.
        self.line().owner() == Owner::from_word(self.process[1].load(Relaxed)).with_thread(tid)
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
        self.slot_unchecked(id)
    }

    /// Returns the lock as [`Table::slot`] does, right after a check of the table.
    pub(crate) fn slot_unchecked(self: &Arc<Self>, id: LockId) -> Result<Slot> {
        let line_and_record = PinnedPair::new(Arc::clone(self), |table| {
            let (segment, index) = table.find(id)?;
            segment.back_group(&table.file, index)?;
            Ok::<_, Error>(segment.touch(index))
        })?;
        Ok(Slot { line_and_record, process: self.process.words(), id })
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("table", &self.table().path()).field("id", &self.id.get()).finish_non_exhaustive()
    }
}
