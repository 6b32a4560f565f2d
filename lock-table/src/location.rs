//! The location of a table's file: its device and inode, as its processes see them.
//!
//! The file stores a hash of its location. Another location means that the file is a copy, or that it is opened through another mount.
//! Two mounts can share the pages of a file but not its locks, as the `merged` and `upper` directories of an overlay do. In both cases
//! this process cannot see the liveness locks of the other processes. The file is then refused unless other evidence proves that all
//! its processes are dead.

use std::sync::atomic::Ordering::SeqCst;

use crate::table::Table;
use lock_core::{Error, Result};

/// Checks that the file of a table has its recorded location, or that no other process uses it.
///
/// # Errors
/// [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) when a process may use the file at another location.
pub(crate) fn check(table: &Table) -> Result<()> {
    let here = table.file.id().number();
    let word = table.state().location;
    loop {
        let there = word.load(SeqCst);
        if there == here {
            return Ok(());
        }
        if there != 0 && table.may_be_used_elsewhere() {
            let path = table.path().display();
            let reason = format!(
                "processes use the file through another mount, which hides their file locks, or {path} is a copy of a store in use; \
                 open the store by the path that the processes use, or remove the copy"
            );
            return Err(Error::untrusted(reason));
        }
        let _ = word.compare_exchange(there, here, SeqCst, SeqCst);
    }
}
