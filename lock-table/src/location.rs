//! Where the file of a table is: device and inode, as the processes see them that use it.
//!
//! Two mounts can share a file's pages and not its locks, as the `merged` and `upper` directories of an overlay do; and a copied
//! file says what the original said when it was copied. Where such a file is opened, the liveness locks of its processes
//! cannot be seen, so that it is refused unless all of them are proved to be dead by other means.

use std::sync::atomic::Ordering::SeqCst;

use crate::table::Table;
use lock_core::{ErrorKind, Result};

/// Checks that the table's file is in the place where its processes use it.
///
/// # Errors
/// [`ErrorKind::NotOurs`].
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
                "processes use it through another mount, where this one cannot see their file locks, or {path} is a copy of a store \
                 that is in use; open it by the path that they use, or remove the copy"
            );
            return Err(ErrorKind::NotOurs { reason }.into());
        }
        let _ = word.compare_exchange(there, here, SeqCst, SeqCst);
    }
}
