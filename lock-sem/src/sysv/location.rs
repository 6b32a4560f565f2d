//! The location of a store's semaphore sets.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use lock_core::PerProcess;
use lock_core::{Error, LockId, Result, StoreId};
use lock_table::{FileAccess, Slot, Table};

use super::namespace::IpcNamespace;
use lock_table::hash::fnv1a_32;

/// Number of times that a process tries to record its own IPC namespace.
///
/// A process that tries this counts as a user of the store, so two processes can refuse each other.
const ATTEMPTS: u32 = 5;

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// The IPC namespace that contains the sets of a store, and the owner and mode for new sets.
///
/// The line of the first id records the IPC namespace. The record changes only if it is from an earlier boot of the system, or if
/// all other processes that have the store open are proven dead.
///
/// Every process checks the record at its first use of the store. A forked child checks it as well, because a child is not
/// registered in the table before that. A process first registers and then reads the record. A process that changes the record
/// first writes it and then reads which processes are registered. So one of the two sees the other.
#[derive(Debug)]
pub(crate) struct SetLocation {
    slot: Slot,
    /// Initialized in each process that has checked the record.
    checked: PerProcess<()>,
    /// The user, group and mode for new sets: those of the table's file.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl SetLocation {
    /// Returns the location of a store's sets.
    ///
    /// If none is recorded, records the IPC namespace of the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) if the sets are in another IPC namespace.
    pub(crate) fn of(table: &Arc<Table>) -> Result<Self> {
        let FileAccess { uid, gid, mode } = table.access()?;
        let mode = mode & 0o666;
        let location = Self { slot: table.slot(LockId::new(0))?, checked: PerProcess::new(), uid, gid, mode };
        location.check()?;
        Ok(location)
    }

    /// Checks, once in each process, that the sets are in the IPC namespace of the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) if they are in another one.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.checked.get_or_try_init(|| self.record_current()).copied()
    }

    /// Checks that the sets are in the present IPC namespace of the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) if they are in another one.
    pub(crate) fn check_thread(&self) -> Result<()> {
        if self.namespace().is_current()? { Ok(()) } else { Err(other_namespace()) }
    }

    fn record_current(&self) -> Result<()> {
        self.table().current_owner()?;
        let current = IpcNamespace::of_this_thread()?;
        for _ in 1..ATTEMPTS {
            if self.try_record(current) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        if self.try_record(current) { Ok(()) } else { Err(other_namespace()) }
    }

    /// Records `current` unless another process may use the sets in another IPC namespace.
    fn try_record(&self, current: IpcNamespace) -> bool {
        let record = self.record();
        loop {
            let recorded = self.namespace();
            let same = recorded.is_same_as(current);
            let next = if same { recorded.with_boot_of(current) } else { current };
            if next == recorded {
                return true;
            }
            let unused = same || recorded.is_none() || recorded.is_of_another_boot(current);
            if !unused && self.is_used_by_others() {
                return false;
            }
            if record.compare_exchange(recorded.word(), next.word(), SeqCst, SeqCst).is_err() {
                continue;
            }
            // A process that registered after the first check may have read the old record.
            if !unused && self.is_used_by_others() {
                let _ = record.compare_exchange(next.word(), recorded.word(), SeqCst, SeqCst);
                return false;
            }
            return true;
        }
    }

    /// Checks whether another process has the store open and is not proven dead.
    fn is_used_by_others(&self) -> bool {
        self.table().processes() > 1
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        self.slot.table()
    }

    pub(crate) fn store(&self) -> StoreId {
        self.table().id()
    }

    /// Returns the IPC namespace of the sets.
    pub(crate) fn namespace(&self) -> IpcNamespace {
        IpcNamespace::from_word(self.record().load(SeqCst))
    }

    /// Returns a hash of the IPC namespace and the table's file, for records of sets.
    ///
    /// A copy of the file has separate sets.
    pub(crate) fn hash(&self) -> u32 {
        let (device, inode) = self.table().device_and_inode();
        fnv1a_32([self.namespace().word(), device, inode].into_iter().flat_map(u64::to_ne_bytes))
    }

    /// Marks the store as being removed. Afterwards, no process creates a set for it.
    pub(crate) fn begin_removal(&self) {
        self.removal().store(1, SeqCst);
    }

    /// Checks whether a process has begun to remove the store.
    pub(crate) fn is_being_removed(&self) -> bool {
        self.removal().load(SeqCst) != 0
    }

    fn record(&self) -> &AtomicU64 {
        &self.slot.line().spare[2]
    }

    fn removal(&self) -> &AtomicU64 {
        &self.slot.line().next
    }
}

#[cold]
fn other_namespace() -> Error {
    let reason = "its semaphores are in another IPC namespace than this thread, and other processes may use them there; run this \
                  process there, or end the others";
    Error::untrusted(reason)
}
