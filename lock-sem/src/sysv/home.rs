//! What concerns all sets of a store.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use lock_core::PerProcess;
use lock_core::{Error, ErrorKind, LockId, Result, StoreId};
use lock_table::{FileAccess, Slot, Table};

use super::place::Place;
use crate::hash::fnv32;

/// How often a process tries to have the sets in its own place, and how long it waits in between: another process that tries the
/// same and is refused is in the way for a moment.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// The sets of a store: where they are, and how they are to be made. The place is written down in the line of the first id.
///
/// The place changes only when it is that of an earlier boot of the system, or when all other processes that have the store open
/// are proved dead. Every process checks it at its first use of the store: a forked child, too, which is not registered in the
/// table before that. It registers first and then reads the place; a process that changes the place writes it and then reads
/// which processes are registered.
#[derive(Debug)]
pub(crate) struct Home {
    slot: Slot,
    /// The processes that have checked the place.
    checked: PerProcess<()>,
    /// User, group and mode that the sets are to have: those of the table's file.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl Home {
    /// The home of this store's sets, which is here if they have none yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotOurs`] when they are in another IPC namespace.
    pub(crate) fn of(table: &Arc<Table>) -> Result<Self> {
        let FileAccess { uid, gid, mode } = table.access()?;
        let mode = mode & 0o666;
        let home = Self { slot: table.slot(LockId::new(0))?, checked: PerProcess::new(), uid, gid, mode };
        home.check()?;
        Ok(home)
    }

    /// Checks, once in each process, that the sets are in the IPC namespace of the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::NotOurs`] when they are in another one.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.checked.get_or_try_init(|| self.settle()).copied()
    }

    /// Checks it now, for the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::NotOurs`] when they are in another one.
    pub(crate) fn check_thread(&self) -> Result<()> {
        if self.place().is_namespace_of_this_thread()? { Ok(()) } else { Err(elsewhere()) }
    }

    fn settle(&self) -> Result<()> {
        self.table().me()?;
        let here = Place::of_this_thread()?;
        for _ in 1..ATTEMPTS {
            if self.try_settle(here) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        if self.try_settle(here) { Ok(()) } else { Err(elsewhere()) }
    }

    fn try_settle(&self, here: Place) -> bool {
        let word = self.place_word();
        loop {
            let there = self.place();
            let same = there.is_same_as(here);
            let next = if same { there.with_boot_of(here) } else { here };
            if next == there {
                return true;
            }
            let vacant = same || there.is_none() || there.is_of_another_boot(here);
            if !vacant && self.is_used_by_others() {
                return false;
            }
            if word.compare_exchange(there.word(), next.word(), SeqCst, SeqCst).is_err() {
                continue;
            }
            // A process that has registered meanwhile may have read the place before it changed.
            if !vacant && self.is_used_by_others() {
                let _ = word.compare_exchange(next.word(), there.word(), SeqCst, SeqCst);
                return false;
            }
            return true;
        }
    }

    /// Whether another process has the store open, or may have: one that is not proved dead.
    fn is_used_by_others(&self) -> bool {
        self.table().processes() > 1
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        self.slot.table()
    }

    pub(crate) fn store(&self) -> StoreId {
        self.table().id()
    }

    /// Where the sets are.
    pub(crate) fn place(&self) -> Place {
        Place::from_word(self.place_word().load(SeqCst))
    }

    /// A number for the place and for the table's file, for records of sets: a copy of the file has sets of its own.
    pub(crate) fn brief(&self) -> u32 {
        let (device, inode) = self.table().device_and_inode();
        fnv32([self.place().word(), device, inode].into_iter().flat_map(u64::to_ne_bytes))
    }

    /// Declares that the store is being removed: from now on no process makes a set for it.
    pub(crate) fn begin_removal(&self) {
        self.removal().store(1, SeqCst);
    }

    /// Whether a process has begun to remove the store.
    pub(crate) fn is_being_removed(&self) -> bool {
        self.removal().load(SeqCst) != 0
    }

    fn place_word(&self) -> &AtomicU64 {
        &self.slot.hot().spare[2]
    }

    fn removal(&self) -> &AtomicU64 {
        &self.slot.hot().next
    }
}

#[cold]
fn elsewhere() -> Error {
    let reason = "its semaphores are in another IPC namespace than this thread, and other processes may use them there; run this \
                  one there, or end those";
    ErrorKind::NotOurs { reason: reason.to_owned() }.into()
}
