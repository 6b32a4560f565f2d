use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, statfs};

/// A file, as `/proc` names it.
///
/// The memory map of a process names a file by device, inode and path. On btrfs and overlayfs it names another device than stat(2). There
/// the path is compared instead of the device. On other file systems it is not: processes of other mount namespaces may have another file
/// with the same path and the same inode, such as the first file of their `/dev/shm`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileId {
    device: u64,
    inode: u64,
    path: PathBuf,
    has_other_device: bool,
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
        Self { device: metadata.dev(), inode: metadata.ino(), path: path.to_owned(), has_other_device: has_other_device(path) }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether this is the file that stat(2) describes so.
    pub(crate) fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// Returns whether a line of `/proc/PID/maps` names this file. `device` is `MAJOR:MINOR` in hexadecimal.
    pub(crate) fn is_named(&self, device: &str, inode: &str, path: Option<&str>) -> bool {
        let number = device.split_once(':').and_then(|(major, minor)| {
            let (major, minor) = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
            Some(libc::makedev(major, minor))
        });
        let same_path = || self.has_other_device && path.is_some_and(|path| Path::new(path) == self.path);
        inode.parse() == Ok(self.inode) && (number == Some(self.device) || same_path())
    }
}

/// Returns whether the memory map of a process may name another device for the file than stat(2).
fn has_other_device(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| [BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC].contains(&found.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_same_path_on_another_device_is_another_file() {
        let path = Path::new("/dev/shm/libpod_lock");
        let (device, inode) = (libc::makedev(0, 0x1a), 2);
        for has_other_device in [false, true] {
            let file = FileId { device, inode, path: path.to_owned(), has_other_device };
            assert!(file.is_named("00:1a", "2", path.to_str()));
            assert!(!file.is_named("00:1a", "3", path.to_str()));
            assert_eq!(file.is_named("00:1b", "2", path.to_str()), has_other_device);
        }
    }
}
