//! Wrong backends whose files seem unused to programs that clean directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lock_core::{Acquired, Deadline, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<LeavesItsHeader>(), faulty::<LeavesItsLockFiles>()]
}

/// Clears the sticky bit of a file of the store, so that the file seems unused.
fn unmark(file: &str) {
    let _ = fs::set_permissions(file, Permissions::from_mode(0o600));
}

#[derive(Debug)]
struct LeavesItsHeader;

impl Fault for LeavesItsHeader {
    const NAME: &'static str = "leaves-its-header-to-cleaners";
    const FAULT: &'static str = "Leaves the header without the mark that protects it from programs that clean directories";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("cleaning::a_store_whose_directory_is_cleaned_is_the_same", "Destroyed")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let honest = reference::open(url, mode)?;
        unmark(&format!("{}/header", url.location().display()));
        Ok(honest)
    }
}

#[derive(Debug)]
struct LeavesItsLockFiles;

impl Fault for LeavesItsLockFiles {
    const NAME: &'static str = "leaves-its-lock-files-to-cleaners";
    const FAULT: &'static str = "Leaves lock files without the mark that protects them from programs that clean directories";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("cleaning::a_lock_whose_directory_is_cleaned_stays_held", "cleaning the directory does not release it")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Unmarked { honest: honest.lock(id)?, file: format!("{}/locks/{id}", url.location().display()) }))
    }
}

#[derive(Debug)]
struct Unmarked {
    honest: Arc<dyn RawLock>,
    file: String,
}

impl RawLock for Unmarked {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = self.honest.acquire(deadline)?;
        unmark(&self.file);
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
