use std::sync::Arc;

use lock_core::{Error, ErrorKind, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl};
use lock_table::{Kind, Slot, Table, TableLocks, TableManager, TableOptions};

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
    let mut retries = 0;
    loop {
        let opened = Directory::open(&path, mode, &table_options).and_then(|(directory, descriptor)| {
            let in_directory = table_options.in_checked_directory();
            match Table::open_in(&descriptor, &directory.table(), KIND, mode, &in_directory) {
                Ok(table) => Ok((directory, table)),
                Err(error) => {
                    directory.forget();
                    Err(error)
                }
            }
        });
        match opened {
            Ok((directory, table)) => {
                let locks = Locks { store: table.id(), directory: Arc::new(directory) };
                return Ok(Arc::new(TableManager::new(table, locks)));
            }
            Err(error) if mode != OpenMode::Open && retries < RETRIES && has_vanished(&error) => retries += 1,
            Err(error) if is_not_open_to_us(&error) && Directory::wait_for_maker(&path, &table_options) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the directory is not to be used, which may change while another user's process makes it.
fn is_not_open_to_us(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::System { source, .. } => source.kind() == std::io::ErrorKind::PermissionDenied,
        ErrorKind::NotOurs { .. } => true,
        _ => false,
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

    fn destroy(&self) -> Result<()> {
        self.directory.check()
    }

    fn destroyed(&self) -> Result<()> {
        self.directory.remove()
    }
}
