use std::sync::Arc;

use lock_core::{Manager, OpenMode, RawLock, Result, StoreUrl};
use lock_table::{Kind, LockLine, Owner, Slot, Table, TableLocks, TableManager, TableOptions, with_parents};

use super::lock::PosixLock;
use super::{line, recovery};
use crate::{DIRECTORY, sys};

const KIND: Kind = Kind::new("psem", sys::ABI).described(sys::describe);

/// Opens or creates the store of a URL `posix-sem:NAME` or `posix-sem:/path`.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let path = url.file_in(|| Ok(DIRECTORY.into()))?;
    let table = with_parents(url, mode, &table_options, || Table::open(&path, KIND, mode, &table_options))?;
    Ok(Arc::new(TableManager::new(table, Locks)))
}

#[derive(Debug)]
struct Locks;

impl TableLocks for Locks {
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(PosixLock::new(slot)))
    }

    fn is_held(&self, _: &LockLine, owner: Owner, _: bool) -> bool {
        !owner.is_broken()
    }

    fn token(&self, line: &LockLine) -> Option<u64> {
        line::token(line)
    }

    fn break_lock(&self, slot: &Slot) -> Result<()> {
        recovery::break_lock(slot)
    }
}
