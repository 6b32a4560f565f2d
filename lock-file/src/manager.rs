use std::sync::Arc;

use lock_core::table::{Kind, Mode, Slot, Table, TableLocks, TableManager, TableOptions};
use lock_core::{Error, ErrorKind, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl};

use crate::directory::Directory;
use crate::lock::FileLock;

const KIND: Kind = Kind::new("file", 0);

/// How often a directory may vanish, since somebody destroys stores in it, before that is an error.
const RETRIES: u32 = 100;

pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let path = Directory::place(url)?;
    let permissions = table_options.mode.unwrap_or(Mode::PRIVATE);
    let mut retries = 0;
    loop {
        let directory = Directory::open(&path, mode, permissions)?;
        match Table::open(&directory.table(), KIND, mode, &table_options) {
            Ok(table) => {
                let locks = Locks { store: table.id(), directory: Arc::new(directory) };
                return Ok(Arc::new(TableManager::new(table, locks)));
            }
            Err(error) if mode != OpenMode::Open && retries < RETRIES && has_vanished(&error) => retries += 1,
            Err(error) => {
                directory.forget();
                return Err(error);
            }
        }
    }
}

/// Whether a table could not be created for want of a directory, which was there a moment ago.
fn has_vanished(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::System { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

#[derive(Debug)]
struct Locks {
    store: StoreId,
    directory: Arc<Directory>,
}

impl TableLocks for Locks {
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>> {
        Ok(FileLock::new(slot, Arc::clone(&self.directory)))
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![("lock files", self.directory.locks(self.store).display().to_string())]
    }

    fn destroyed(&self) -> Result<()> {
        self.directory.remove()
    }
}
