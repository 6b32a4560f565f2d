use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, as `/proc` names it.
///
/// The memory map of a process names a file by device, inode and path. On some file systems (btrfs, overlayfs) it names another device
/// than stat(2). There the path is compared instead of the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileId {
    device: u64,
    inode: u64,
    path: PathBuf,
}

impl FileId {
    /// Returns the identity of the file at this path, without following a symbolic link at its end.
    ///
    /// # Errors
    /// The error of lstat(2).
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(path, &fs::symlink_metadata(path)?))
    }

    /// Returns the identity of an open file that was opened at this path.
    pub fn new(path: &Path, metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), path: path.to_owned() }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether this is the file that stat(2) describes so.
    pub(crate) fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// Returns how a line of `/proc/PID/maps` names this file, if it does. `device` is `MAJOR:MINOR` in hexadecimal.
    pub(crate) fn naming(&self, device: &str, inode: &str, path: Option<&str>) -> Option<Named> {
        let number = device.split_once(':').and_then(|(major, minor)| {
            let (major, minor) = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
            Some(libc::makedev(major, minor))
        });
        if inode.parse() != Ok(self.inode) {
            return None;
        }
        let same_path = || path.is_some_and(|path| Path::new(path) == self.path);
        if number == Some(self.device) { Some(Named::ByDevice) } else { same_path().then_some(Named::ByPath) }
    }

    /// Returns whether a process finds this file at this path. In another mount namespace, another file may have the path and the inode
    /// number.
    pub(crate) fn is_at_its_path_for(&self, pid: u32) -> bool {
        let relative = self.path.strip_prefix("/").unwrap_or(&self.path);
        fs::symlink_metadata(Path::new(&format!("/proc/{pid}/root")).join(relative)).is_ok_and(|meta| self.is(&meta))
    }
}

/// How a line of `/proc/PID/maps` names a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// By device and inode.
    ByDevice,
    /// By inode and path.
    ByPath,
}
