//! The tables that this process has open. Opening a table again returns the same table.
//!
//! Each process has separate mutexes, so that a forked child does not inherit a locked one. The list of tables is replaced atomically, so
//! that a forked child inherits a valid list.

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
/// The registrations of tables that were closed while guards of their locks were leaked.
static RETAINED: PerProcess<Mutex<Vec<Retained>>> = PerProcess::new();

/// A retained registration, with the file and the header of its table.
type Retained = (FileId, Header, Arc<Registration>);

/// The locked list of open tables.
///
/// While it exists, no other thread of this process opens a table or registers in one.
pub(crate) struct OpenTables {
    lock: MutexGuard<'static, ()>,
}

/// Locks the list of open tables.
pub(crate) fn lock() -> Result<OpenTables> {
    let lock = LOCK.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(OpenTables { lock: lock.lock().unwrap_or_else(PoisonError::into_inner) })
}

impl OpenTables {
    /// Returns the table of this file, if the process has it open.
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

    /// Removes and returns the registration that was retained for the table of this file.
    pub(crate) fn take_retained(&self, id: FileId, header: &Header) -> Option<Arc<Registration>> {
        let mut retained = RETAINED.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let at = retained.iter().position(|retained| (retained.0, &retained.1) == (id, header))?;
        Some(retained.swap_remove(at).2)
    }
}

/// Retains a registration until this process opens the table again.
pub(crate) fn retain(id: FileId, header: Header, registration: Arc<Registration>) {
    match RETAINED.get_or_try_init(|| Ok(Mutex::default())) {
        Ok(retained) => retained.lock().unwrap_or_else(PoisonError::into_inner).push((id, header, registration)),
        Err(_) => std::mem::forget(registration),
    }
}
