use std::sync::Arc;

use lock_core::{Manager, OpenMode, RawLock, Result, StoreUrl};
use lock_table::{Kind, LockLine, Owner, Slot, Table, TableLocks, TableManager, TableOptions, with_parents};

use crate::lock::ShmLock;
use crate::robust;

/// The directory of stores whose URL has a plain name.
const DIRECTORY: &str = "/dev/shm";

pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let kind = Kind::new("shm", robust::ABI).described(robust::describe);
    let path = url.file_in(|| Ok(DIRECTORY.into()))?;
    let table = with_parents(url, mode, &table_options, || Table::open(&path, kind, mode, &table_options))?;
    Ok(Arc::new(TableManager::new(table, Locks)))
}

#[derive(Debug)]
struct Locks;

impl TableLocks for Locks {
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(ShmLock::new(slot)))
    }

    fn is_held(&self, line: &LockLine, _owner: Owner, lives: bool) -> bool {
        lives && robust::is_held(line)
    }
}
