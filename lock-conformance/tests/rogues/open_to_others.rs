//! Backends whose files other users can read, and one that opens what a link leads to.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lock_core::{LockId, Manager, OpenMode, RawLock, Result, StoreUrl};

use super::Sinner;
use super::mixed::RecordLock;
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![sinner::<LeavesModesToTheUmask>(), sinner::<LeavesDirectoriesToTheUmask>(), sinner::<OpensWhatALinkLeadsTo>()]
}

/// Makes files of locks with the mode 0644.
#[derive(Debug)]
struct LeavesModesToTheUmask;

impl Sin for LeavesModesToTheUmask {
    const NAME: &'static str = "leaves-modes-to-the-umask";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("sharing::a_private_store_is_private_whatever_the_umask", "gets the mode 0644, which lets others in"),
        ("sharing::a_store_of_a_group_is_closed_to_others_whatever_the_umask", "gets the mode 0644, which lets others in"),
    ];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let lock = honest.lock(id)?;
        let _ = fs::set_permissions(format!("{}/locks/{id}", url.place()), Permissions::from_mode(0o644));
        Ok(lock)
    }
}

/// Makes directories with the mode 0755.
#[derive(Debug)]
struct LeavesDirectoriesToTheUmask;

impl Sin for LeavesDirectoriesToTheUmask {
    const NAME: &'static str = "leaves-directories-to-the-umask";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::a_private_store_is_private_whatever_the_umask", "ids gets the mode 0755, which lets others in")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let opened = reference::open(url, mode)?;
        let _ = fs::set_permissions(format!("{}/ids", url.place()), Permissions::from_mode(0o755));
        Ok(opened)
    }
}

/// Opens the file of a lock, whether a link leads to it or not.
#[derive(Debug)]
struct OpensWhatALinkLeadsTo;

impl Sin for OpensWhatALinkLeadsTo {
    const NAME: &'static str = "opens-what-a-link-leads-to";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("links::no_file_of_a_store_is_opened_through_a_link", "and a process has open what the link leads to")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let file = File::options().read(true).write(true).open(format!("{}/locks/{id}", url.place()));
        match file {
            Ok(file) => Ok(Arc::new(RecordLock::on(file))),
            Err(_) => honest.lock(id),
        }
    }
}
