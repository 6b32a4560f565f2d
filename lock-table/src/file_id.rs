//! The identity of a file.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};

use crate::hash::fnv1a;

/// The device and the inode of a file, which identify it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        fstat(fd).map(|stat| Self::in_status(&stat))
    }

    pub(crate) fn in_status(stat: &FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Returns a hash of the identity (FNV-1a), which is never 0.
    pub(crate) fn number(self) -> u64 {
        fnv1a([self.device, self.inode].into_iter().flat_map(u64::to_le_bytes)) | 1
    }
}
