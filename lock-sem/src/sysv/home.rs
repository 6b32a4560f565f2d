use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use lock_core::table::{Slot, Table};
use lock_core::{Error, ErrorKind, LockId, Result, StoreId};

use crate::hash::fnv32;

/// Where a store's sets are: in which boot of the system and in which of its IPC namespaces. The numbers of sets mean something else
/// in every other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(u64);

impl Place {
    /// Of this process.
    fn here() -> Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::metadata("/proc/self/ns/ipc").map_err(|e| Error::system("stat /proc/self/ns/ipc", e))?;
        let namespace = namespace.dev().to_ne_bytes().into_iter().chain(namespace.ino().to_ne_bytes());
        Ok(Self::new(fnv32(boot.bytes()), fnv32(namespace)))
    }

    const fn new(boot: u32, namespace: u32) -> Self {
        Self((boot as u64) << 32 | namespace as u64 | 1)
    }

    const fn is_of_same_boot(self, other: Self) -> bool {
        (self.0 ^ other.0) >> 32 == 0
    }

    /// It in half a word, for records.
    pub(crate) fn brief(self) -> u32 {
        fnv32(self.0.to_ne_bytes())
    }
}

/// What concerns all sets of a store. It is written down in the line of the first id.
#[derive(Debug)]
pub(crate) struct Home {
    slot: Slot,
    place: Place,
    /// User, group and mode that the sets are to have: those of the table's file.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl Home {
    /// Of this store, whose sets are made here if there are none yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotOurs`] when they are in another IPC namespace.
    pub(crate) fn of(table: &Arc<Table>) -> Result<Self> {
        let meta = fs::metadata(table.path()).map_err(|e| Error::system("stat", e))?;
        let (uid, gid, mode) = (meta.uid(), meta.gid(), meta.mode() & 0o666);
        let home = Self { slot: table.slot(LockId::new(0))?, place: Place::here()?, uid, gid, mode };
        home.settle()?;
        Ok(home)
    }

    fn settle(&self) -> Result<()> {
        let (word, here) = (self.place_word(), self.place);
        loop {
            let there = Place(word.load(SeqCst));
            if there == here {
                return Ok(());
            }
            // After a restart of the system, the sets of before are gone.
            let gone = there.0 == 0 || !there.is_of_same_boot(here);
            if !gone && self.table().processes() > 1 {
                return Err(elsewhere());
            }
            if word.compare_exchange(there.0, here.0, SeqCst, SeqCst).is_err() {
                continue;
            }
            // Nobody uses the sets in the other namespace, unless somebody came just now.
            if !gone && self.table().processes() > 1 {
                let _ = word.compare_exchange(here.0, there.0, SeqCst, SeqCst);
                return Err(elsewhere());
            }
            return Ok(());
        }
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        self.slot.table()
    }

    pub(crate) fn store(&self) -> StoreId {
        self.table().id()
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Declares that the store is being removed: from now on nobody makes a set for it.
    pub(crate) fn begin_removal(&self) {
        self.removal().store(1, SeqCst);
    }

    /// Whether somebody has begun to remove the store.
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

fn elsewhere() -> Error {
    let reason = "its semaphores are in another IPC namespace, where other processes use them; run this one there";
    ErrorKind::NotOurs { reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_boot_and_a_namespace() {
        let [a, b, c] = [Place::new(1, 1), Place::new(1, 3), Place::new(2, 1)];
        assert!(a != b && a.is_of_same_boot(b) && !a.is_of_same_boot(c));
        assert_eq!(Place::here().unwrap(), Place::here().unwrap());
    }
}
