//! The tables that this process has open. A process that opens one twice has one.
//!
//! Of these locks each process has its own, so that none is held over a fork; a forked child finds the list of its parent's tables whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::file_id::FileId;
use crate::header::Header;
use crate::registration::Registration;
use crate::sys::Published;
use crate::table::Table;
use lock_core::PerProcess;
use lock_core::Result;

static LOCK: PerProcess<Mutex<()>> = PerProcess::new();
static TABLES: Published<Vec<Weak<Table>>> = Published::new();
/// Registrations of tables that were closed while locks of theirs were held, whose guards were leaked.
static LEFT: PerProcess<Mutex<Vec<Left>>> = PerProcess::new();

/// A registration that is kept, with the file and the header of its table.
type Left = (FileId, Header, Arc<Registration>);

/// One table at a time is opened by this process, or registers it.
pub(crate) struct Opening {
    lock: MutexGuard<'static, ()>,
}

pub(crate) fn opening() -> Result<Opening> {
    let lock = LOCK.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(Opening { lock: lock.lock().unwrap_or_else(PoisonError::into_inner) })
}

impl Opening {
    /// The table of this file, if the process has it open.
    pub(crate) fn find(&self, id: FileId, header: &Header) -> Option<Arc<Table>> {
        let tables = TABLES.get(&self.lock);
        tables.iter().filter_map(Weak::upgrade).find(|table| table.file.id() == id && table.header == *header)
    }

    pub(crate) fn add(&self, table: &Arc<Table>) {
        let mut tables = TABLES.get(&self.lock);
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Arc::downgrade(table));
        TABLES.replace(&self.lock, tables);
    }

    /// The registration that this process left in the table of this file.
    pub(crate) fn take_left(&self, id: FileId, header: &Header) -> Option<Arc<Registration>> {
        let mut left = LEFT.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let at = left.iter().position(|left| (left.0, &left.1) == (id, header))?;
        Some(left.swap_remove(at).2)
    }
}

/// Keeps a registration for the next time that this process opens the table.
pub(crate) fn leave(id: FileId, header: Header, registration: Arc<Registration>) {
    match LEFT.get_or_try_init(|| Ok(Mutex::default())) {
        Ok(left) => left.lock().unwrap_or_else(PoisonError::into_inner).push((id, header, registration)),
        Err(_) => std::mem::forget(registration),
    }
}
