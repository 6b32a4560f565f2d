//! Wrong backends whose files look unused to programs that clean directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lock_core::{Acquired, Deadline, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Sinner;
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![sinner::<LeavesItsHeader>(), sinner::<LeavesItsLockFiles>()]
}

/// Has a file of the store look unused.
fn unmark(file: &str) {
    let _ = fs::set_permissions(file, Permissions::from_mode(0o600));
}

#[derive(Debug)]
struct LeavesItsHeader;

impl Sin for LeavesItsHeader {
    const NAME: &'static str = "leaves-its-header-to-cleaners";
    const FAULT: &'static str = "Has a header that looks unused to a program that cleans directories";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("cleaning::a_store_whose_directory_is_cleaned_is_the_same", "Destroyed")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let honest = reference::open(url, mode)?;
        unmark(&format!("{}/header", url.place()));
        Ok(honest)
    }
}

#[derive(Debug)]
struct LeavesItsLockFiles;

impl Sin for LeavesItsLockFiles {
    const NAME: &'static str = "leaves-its-lock-files-to-cleaners";
    const FAULT: &'static str = "Has lock files that look unused to a program that cleans directories";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("cleaning::a_lock_whose_directory_is_cleaned_stays_held", "cleaning the directory does not release it")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Unmarked { honest: honest.lock(id)?, file: format!("{}/locks/{id}", url.place()) }))
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
