use std::sync::Arc;
use std::time::Instant;

use lock_core::{Error, ErrorDetails, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl};
use lock_table::{Kind, Slot, Table, TableLocks, TableManager, TableOptions, with_parents};

use crate::directory::{CREATION, Directory};
use crate::lock::FileLock;

const KIND: Kind = Kind::new("file", 0);

/// Number of times to retry when another process removes the directory during a creation.
const RETRIES: u32 = 100;

/// Opens or creates the store of a URL `file:NAME` or `file:/dir`.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let path = Directory::path_of_url(url)?;
    let (mut retries, began) = (0, Instant::now());
    loop {
        let opened = with_parents(url, mode, &table_options, || Directory::open(&path, mode, &table_options));
        let opened = opened.and_then(|(directory, descriptor)| {
            let in_directory = table_options.in_checked_directory();
            match Table::open_in(&descriptor, &directory.table(), KIND, mode, &in_directory) {
                Ok(table) => Ok((directory, table)),
                Err(error) => {
                    directory.undo_creation();
                    Err(error)
                }
            }
        });
        match opened {
            Ok((directory, table)) => {
                let locks = Locks { store: table.id(), directory: Arc::new(directory) };
                return Ok(Arc::new(TableManager::new(table, locks)));
            }
            Err(error) if mode != OpenMode::Open && retries < RETRIES && was_removed(&error) => retries += 1,
            Err(error) if is_access_denied(&error) && began.elapsed() <= CREATION && Directory::wait_for_creator(&path) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Checks whether this user may not use the directory.
///
/// A process of another user that creates it may change that.
fn is_access_denied(error: &Error) -> bool {
    match error.details() {
        ErrorDetails::System { error, .. } => error.kind() == std::io::ErrorKind::PermissionDenied,
        ErrorDetails::Untrusted { .. } => true,
        _ => false,
    }
}

/// Checks whether a table could not be created because the directory was removed meanwhile.
fn was_removed(error: &Error) -> bool {
    matches!(error.details(), ErrorDetails::System { error, .. } if error.kind() == std::io::ErrorKind::NotFound)
}

/// The lock files of a store.
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
        vec![("lock files", self.directory.locks_path(self.store).display().to_string())]
    }

    fn destroy(&self) -> Result<()> {
        self.directory.check()
    }

    fn destroyed(&self) -> Result<()> {
        self.directory.remove()
    }
}
