//! Descriptor numbers that a wrong backend stores, in the descriptor table of the program.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use lock_core::{Error, Result};
use nix::fcntl::{FcntlArg, fcntl};

/// A descriptor number, or none.
#[derive(Debug)]
pub(super) struct Number(AtomicI32);

impl Number {
    pub(super) const fn none() -> Self {
        Self(AtomicI32::new(-1))
    }

    /// Opens the file, or creates it if it is absent, and stores its descriptor number, which is at least 3.
    ///
    /// The descriptor stays open.
    pub(super) fn open(&self, path: &Path) -> Result<RawFd> {
        let mut options = File::options();
        options.read(true).append(true);
        let file = match options.clone().create_new(true).open(path) {
            // Other users open the file, too.
            Ok(file) => file.set_permissions(Permissions::from_mode(0o666)).map(|()| file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
            Err(error) => Err(error),
        };
        let file = file.map_err(|error| Error::system("open", error))?;
        let number = fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(|errno| Error::system("fcntl", errno))?;
        self.set(number);
        Ok(number)
    }

    pub(super) fn set(&self, number: RawFd) {
        self.0.store(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<RawFd> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number >= 0)
    }

    /// Returns the number, and stores none.
    pub(super) fn take(&self) -> Option<RawFd> {
        Some(self.0.swap(-1, Ordering::Relaxed)).filter(|number| *number >= 0)
    }

    /// Checks whether the program has closed the descriptor.
    pub(super) fn is_lost(&self) -> bool {
        self.get().is_some_and(|number| inode_of(number).is_none())
    }
}

/// Returns the inode of the file that is open under the number.
pub(super) fn inode_of(number: RawFd) -> Option<u64> {
    fs::metadata(link_of(number)).ok().map(|facts| facts.ino())
}

/// Returns a path that opens the file of the number again.
pub(super) fn link_of(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}
