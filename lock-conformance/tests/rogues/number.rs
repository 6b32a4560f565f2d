//! Descriptors that a wrong backend remembers by number, in the descriptor table of the program.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use lock_core::{Error, Result};
use nix::fcntl::{FcntlArg, fcntl};

/// A number, or none.
#[derive(Debug)]
pub(super) struct Number(AtomicI32);

impl Number {
    pub(super) const fn none() -> Self {
        Self(AtomicI32::new(-1))
    }

    /// Opens the file, creates it if it is absent, and remembers a number from 3 on. The number stays open.
    pub(super) fn open(&self, path: &Path) -> Result<RawFd> {
        let mut options = File::options();
        options.read(true).append(true);
        let file = match options.clone().create_new(true).open(path) {
            // Other users open it, too.
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

    /// Forgets the number.
    pub(super) fn take(&self) -> Option<RawFd> {
        Some(self.0.swap(-1, Ordering::Relaxed)).filter(|number| *number >= 0)
    }

    /// Whether the program has closed the number.
    pub(super) fn is_lost(&self) -> bool {
        self.get().is_some_and(|number| inode_of(number).is_none())
    }
}

/// The inode of the file that is open under the number.
pub(super) fn inode_of(number: RawFd) -> Option<u64> {
    fs::metadata(link_of(number)).ok().map(|facts| facts.ino())
}

/// The path by which the file of a number can be opened again.
pub(super) fn link_of(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}
