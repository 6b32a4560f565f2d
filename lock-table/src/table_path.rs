//! The path of a table's file, and the directory relative to which the file is opened.

use std::fs::Metadata;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode as Permissions, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::file_access::FileAccess;
use crate::file_id::FileId;

/// The path of a table's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePath<'a> {
    /// The directory that `name` is relative to.
    pub(crate) base: BorrowedFd<'a>,
    pub(crate) name: &'a Path,
    /// The whole path, for messages and for opening the file again.
    pub(crate) whole: &'a Path,
}

impl<'a> TablePath<'a> {
    /// Creates a path that is resolved as a whole.
    pub(crate) fn whole(path: &'a Path) -> Self {
        Self { base: AT_FDCWD, name: path, whole: path }
    }

    /// Creates the path of a file in an open directory, which the caller has checked.
    pub(crate) fn in_directory(directory: BorrowedFd<'a>, path: &'a Path) -> Self {
        let name = path.file_name().map_or(path, Path::new);
        Self { base: directory, name, whole: path }
    }

    /// Returns the directory of the file, relative to the base.
    pub(crate) fn parent(&self) -> &'a Path {
        parent_of(self.name)
    }

    /// Returns the path of the directory of the file.
    pub(crate) fn directory(&self) -> &'a Path {
        parent_of(self.whole)
    }

    /// Returns the owner, the group and the mode of the directory, if its entry with the name is `file`.
    pub(crate) fn directory_of(&self, file: &Metadata) -> Option<FileAccess> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = openat(self.base, self.parent(), flags, Permissions::empty()).ok()?;
        let named = fstatat(&directory, self.name.file_name()?, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let same = (named.st_dev, named.st_ino) == (file.dev(), file.ino());
        if same { fstat(&directory).ok().map(|status| (&status).into()) } else { None }
    }
}

/// Returns the directory of a path.
fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes the file with this identity, if the path leads to it.
///
/// A symbolic link in the last component is not followed. The directory is resolved once.
///
/// # Errors
/// ENOENT when the path leads to another file or to none; other errors of the system calls.
pub(crate) fn unlink_if(path: &Path, id: FileId) -> Result<(), Errno> {
    let path = TablePath::whole(path);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(path.base, path.parent(), flags, Permissions::empty())?;
    let name = path.name.file_name().ok_or(Errno::ENOENT)?;
    let named = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if (FileId { device: named.st_dev, inode: named.st_ino }) != id {
        return Err(Errno::ENOENT);
    }
    unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir)
}
