//! Wrong backends whose files other users can read, and one that follows symbolic links.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lock_core::{Error, ErrorKind, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};

use nix::errno::Errno;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::mixed::RecordLock;
use super::rarely::{Operation, rarely};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<LeavesModesToTheUmask>(),
        rarely::<LeavesModesToTheUmask>(),
        faulty::<LeavesDirectoriesToTheUmask>(),
        faulty::<OpensWhatALinkLeadsTo>(),
        faulty::<ForwardsTheKernelsError>(),
        rarely::<OpensWhatALinkLeadsTo>(),
    ]
}

#[derive(Debug)]
struct LeavesModesToTheUmask;

impl Fault for LeavesModesToTheUmask {
    const NAME: &'static str = "leaves-modes-to-the-umask";
    const FAULT: &'static str = "Creates lock files with the mode 0644";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("sharing::a_private_store_is_private_whatever_the_umask", "gets the mode 0644, which lets others in"),
        ("sharing::a_store_of_a_group_is_closed_to_others_whatever_the_umask", "gets the mode 0644, which lets others in"),
    ];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let lock = honest.lock(id)?;
        let _ = fs::set_permissions(format!("{}/locks/{id}", url.location().display()), Permissions::from_mode(0o644));
        Ok(lock)
    }
}

// There is no rare variant, because a store has few directories and creates each of them once.
#[derive(Debug)]
struct LeavesDirectoriesToTheUmask;

impl Fault for LeavesDirectoriesToTheUmask {
    const NAME: &'static str = "leaves-directories-to-the-umask";
    const FAULT: &'static str = "Creates directories with the mode 0755";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::a_private_store_is_private_whatever_the_umask", "ids gets the mode 0755, which lets others in")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let opened = reference::open(url, mode)?;
        // The mode 0755 would exclude the other users of a shared store.
        if !url.as_str().contains("mode=") {
            let _ = fs::set_permissions(format!("{}/ids", url.location().display()), Permissions::from_mode(0o755));
        }
        Ok(opened)
    }
}

#[derive(Debug)]
struct OpensWhatALinkLeadsTo;

impl Fault for OpensWhatALinkLeadsTo {
    const NAME: &'static str = "opens-what-a-link-leads-to";
    const FAULT: &'static str = "Opens the file of a lock through a symbolic link";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("links::no_file_of_a_store_is_opened_through_a_link", "but a process has its target open")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let path = format!("{}/locks/{id}", url.location().display());
        let is_link = fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_symlink());
        match File::options().read(true).write(true).open(path) {
            Ok(file) if is_link => Ok(Arc::new(RecordLock::on(file))),
            _ => honest.lock(id),
        }
    }
}

// There is no rare variant, because the message for an error is always the same.
#[derive(Debug)]
struct ForwardsTheKernelsError;

impl Fault for ForwardsTheKernelsError {
    const NAME: &'static str = "passes-on-what-the-kernel-says";
    const FAULT: &'static str = "Reports too many levels of symbolic links when a file is a symbolic link";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("links::a_refusal_because_of_a_link_says_so", "was replaced by a link, but the error has the wrong kind: System")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id).map_err(|error| match error.kind() {
            ErrorKind::Untrusted => Error::system("open", Errno::ELOOP),
            _ => error,
        })
    }
}
