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

/// Where a table's file is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePath<'a> {
    /// The directory that `name` is relative to.
    pub(crate) base: BorrowedFd<'a>,
    pub(crate) name: &'a Path,
    /// The whole path, for messages, and to open the file again.
    pub(crate) whole: &'a Path,
}

impl<'a> TablePath<'a> {
    /// A path that is looked up as a whole.
    pub(crate) fn whole(path: &'a Path) -> Self {
        Self { base: AT_FDCWD, name: path, whole: path }
    }

    /// A file in an open directory, which the caller has checked.
    pub(crate) fn in_directory(directory: BorrowedFd<'a>, path: &'a Path) -> Self {
        let name = path.file_name().map_or(path, Path::new);
        Self { base: directory, name, whole: path }
    }

    /// The directory that the file is in, relative to the base.
    pub(crate) fn parent(&self) -> &'a Path {
        parent_of(self.name)
    }

    /// The path of the directory that the file is in.
    pub(crate) fn directory(&self) -> &'a Path {
        parent_of(self.whole)
    }

    /// The owner and the mode of the directory that has this file under its name.
    pub(crate) fn directory_of(&self, file: &Metadata) -> Option<FileAccess> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = openat(self.base, self.parent(), flags, Permissions::empty()).ok()?;
        let named = fstatat(&directory, self.name.file_name()?, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let same = (named.st_dev, named.st_ino) == (file.dev(), file.ino());
        if same { fstat(&directory).ok().map(|status| (&status).into()) } else { None }
    }
}

/// The directory that a path leads to a file of.
fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes a file, if its name still leads to it. No link in the last part of the path is followed, and the directory is looked up
/// once.
///
/// # Errors
/// ENOENT when the name leads to another file or to none; what the system says.
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
