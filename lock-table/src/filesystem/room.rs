//! Keeping reserved blocks reserved: files without copy-on-write, and blocks that no copy shares.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::kind::Room::{KeptUnlessReflinked, KeptWithoutCopyOnWrite};
use super::kind::{Accept, Kind, Place};
use crate::sys;
use lock_core::{Error, Result};

/// Disables copy-on-write and compression of an empty file on btrfs, so that its reserved blocks stay reserved.
///
/// An overlay passes the call to the file system below. Other file systems do not need it.
///
/// # Errors
/// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) when btrfs refuses.
pub(crate) fn keep_room(file: impl AsFd, path: &Path, accept: Accept) -> Result<()> {
    let needed = match Kind::of(&file)? {
        Some(Kind { place: Place::Machine(KeptWithoutCopyOnWrite), .. }) => accept == Accept::Suitable,
        Some(Kind { name: "overlayfs", .. }) => false,
        _ => return Ok(()),
    };
    match sys::switch_copy_on_write_off(&file) {
        Err(errno) if needed => Err(copied_on_write(path, Some(errno))),
        _ => Ok(()),
    }
}

/// Checks that reserved blocks of a store's file stay reserved, see [`keep_room`].
///
/// # Errors
/// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) with the path and advice.
pub(super) fn check_room(kind: &Kind, file: impl AsFd, path: &Path) -> Result<()> {
    match kind.place {
        Place::Machine(KeptWithoutCopyOnWrite) if sys::is_copied_on_write(file) => Err(copied_on_write(path, None)),
        _ => Ok(()),
    }
}

/// Replaces the blocks that a store's file shares with reflinked copies, which `cp` creates on xfs.
///
/// The content is kept, also when other processes write to the file during the call. On btrfs a snapshot or a copy still shares the
/// blocks.
///
/// # Errors
/// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when the file system has no free blocks.
pub(crate) fn unshare(kind: Option<&Kind>, file: impl AsFd) -> Result<()> {
    let is_needed = kind.is_some_and(|kind| kind.place == Place::Machine(KeptUnlessReflinked));
    let shared = if is_needed { sys::shared_ranges(&file).unwrap_or_default() } else { Vec::new() };
    for range in shared {
        let (start, length) = (range.start.cast_signed(), (range.end - range.start).cast_signed());
        // After another error the store works while the file system has free blocks.
        if fallocate(&file, FallocateFlags::FALLOC_FL_UNSHARE_RANGE, start, length) == Err(Errno::ENOSPC) {
            return Err(Error::system("fallocate", Errno::ENOSPC));
        }
    }
    Ok(())
}

fn copied_on_write(path: &Path, errno: Option<Errno>) -> Error {
    let cause = errno.map(|errno| format!(" (FS_IOC_SETFLAGS: {})", errno.desc())).unwrap_or_default();
    Error::unsupported(format!(
        "{} is copied on write{cause}, so that SIGBUS can kill a process when the file system is full; destroy the store and create it \
         again, or add filesystem=any to accept that",
        path.display()
    ))
}
