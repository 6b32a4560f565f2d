//! Creates and removes files below the directory of a store, relative to its descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lock_core::{Error, Result};
use lock_table::{FileAccess, STICKY, TableOptions};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode as Bits, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, linkat, unlinkat};

use crate::beneath;

/// Number of times to retry when another process adds entries to a directory that is being removed.
const RETRIES: u32 = 100;

/// The largest depth of directories to remove. Lock files are at depth 3.
const MAX_DEPTH: u32 = 8;

/// The mode of a directory until its owner and group are set.
const UNFINISHED: u32 = 0o700;

/// The mode bits for users other than the owner.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

const SET_GROUP_ID: u32 = 0o2000;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The directory of a store. New files in it get the owner, group and mode of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    /// The owner, group and mode of the table.
    pub(crate) access: FileAccess,
}

impl Tree<'_> {
    /// Opens a file, and creates it if it is absent. The parent directory exists.
    pub(crate) fn open_or_create(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        if self.access.mode & OTHERS == 0 && self.access.uid == geteuid().as_raw() {
            return beneath::open(self.directory, path, flags | OFlag::O_CREAT, Bits::from_bits_truncate(self.access.mode));
        }
        match beneath::open(self.directory, path, flags, Bits::empty()) {
            Err(Errno::ENOENT) => self.create(path),
            other => other,
        }
    }

    /// Creates a file.
    ///
    /// Where the file system allows it, other processes see the file only with its final owner, group and mode.
    fn create(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
        let parent = beneath::open(self.directory, parent, OFlag::O_PATH | OFlag::O_DIRECTORY, Bits::empty())?;
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let unnamed = openat(&parent, ".", flags | OFlag::O_TMPFILE, Bits::from_bits_truncate(0o600));
        if let Ok(file) = unnamed {
            self.set_access(file.as_fd(), self.file_bits())?;
            let source = format!("/proc/self/fd/{}", file.as_raw_fd());
            match linkat(AT_FDCWD, source.as_str(), &parent, name, AtFlags::AT_SYMLINK_FOLLOW) {
                // `/proc` is not mounted, or the file system cannot link an unnamed file.
                Err(Errno::ENOENT | Errno::EXDEV | Errno::EPERM | Errno::EOPNOTSUPP) => {}
                done => return done.map(|()| file),
            }
        }
        let create = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let file = openat(&parent, name, create, Bits::from_bits_truncate(0o600))?;
        self.set_access(file.as_fd(), self.file_bits()).inspect_err(|_| {
            let _ = unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir);
        })?;
        Ok(file)
    }

    /// Returns the mode of a lock file: that of the table, and [`STICKY`].
    fn file_bits(&self) -> u32 {
        self.access.mode & 0o666 | STICKY
    }

    /// Creates the missing parent directories of a file.
    pub(crate) fn create_parents(&self, path: &Path) -> Result<(), Errno> {
        let mut parents: Vec<_> = path.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect();
        parents.reverse();
        parents.into_iter().try_for_each(|directory| self.create_directory(directory))
    }

    fn create_directory(&self, path: &Path) -> Result<(), Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
        let opened;
        let parent = if parent.as_os_str().is_empty() {
            self.directory
        } else {
            opened = beneath::open(self.directory, parent, OFlag::O_PATH | OFlag::O_DIRECTORY, Bits::empty())?;
            opened.as_fd()
        };
        match mkdirat(parent, name, Bits::from_bits_truncate(UNFINISHED)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        // This also finishes a directory of a process that was killed after `mkdirat`.
        let Some(created) = unfinished(parent, name)? else { return Ok(()) };
        self.set_access(created.as_fd(), directory_bits(self.access.mode)).inspect_err(|_| {
            let _ = unlinkat(parent, name, UnlinkatFlags::RemoveDir);
        })
    }

    /// Checks whether the mode grants all users the same rights.
    ///
    /// The group of the file differs from that of the table, and its owner may differ.
    fn has_equal_rights(&self, owner_differs: bool) -> bool {
        let [owner, group, others] = [6, 3, 0].map(|shift| self.access.mode >> shift & 0o6);
        group == others && (!owner_differs || owner == group)
    }

    /// Sets the owner, group and mode of a new file or directory. Preserves the set-group-id bit.
    fn set_access(&self, created: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
        let status = fstat(created)?;
        let uid = (status.st_uid != self.access.uid && geteuid().is_root()).then(|| Uid::from_raw(self.access.uid));
        let gid = (status.st_gid != self.access.gid).then(|| Gid::from_raw(self.access.gid));
        if uid.is_some() || gid.is_some() {
            match fchown(created, uid, gid) {
                // EINVAL: the user namespace does not map the owner.
                Err(Errno::EPERM | Errno::EINVAL) if self.has_equal_rights(uid.is_some()) => {}
                done => done?,
            }
        }
        set_mode(created, bits | status.st_mode & SET_GROUP_ID)
    }
}

/// Creates the directory of a store, with the owner, group and mode of the options.
///
/// Returns false if it exists.
pub(crate) fn create_store_directory(path: &Path, options: &TableOptions) -> Result<bool> {
    let created = match mkdirat(AT_FDCWD, path, Bits::from_bits_truncate(UNFINISHED)) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(Error::system("mkdir", errno)),
    };
    let bits = directory_bits(options.permissions().bits());
    let found = if created || bits != UNFINISHED { unfinished(AT_FDCWD, path.as_os_str()) } else { Ok(None) };
    let Some(directory) = found.map_err(|errno| Error::system("open", errno))? else { return Ok(created) };
    // A directory with entries is not one that a killed process left unfinished. It keeps its mode.
    if !created && entries(&directory).map_err(|errno| Error::system("readdir", errno))?.next().is_some() {
        return Ok(false);
    }
    let given = options.give(directory.as_fd()).and_then(|()| {
        let inherited = fstat(&directory).map_err(|errno| Error::system("fstat", errno))?.st_mode & SET_GROUP_ID;
        set_mode(directory.as_fd(), bits | inherited).map_err(|errno| Error::system("fchmod", errno))
    });
    if given.is_err() && created {
        let _ = unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir);
    }
    given.map(|()| created)
}

/// Removes the directories whose name is the identity of a store, with their content.
pub(crate) fn remove_stores(locks: &OwnedFd, is_store: impl Fn(&str) -> bool) -> Result<()> {
    let all = entries(locks).map_err(|errno| Error::system("readdir", errno))?;
    let stores = all.filter(|name| is_store(&String::from_utf8_lossy(name)));
    for name in stores {
        remove(locks.as_fd(), OsStr::from_bytes(&name), MAX_DEPTH).map_err(|errno| Error::system("unlink", errno))?;
    }
    Ok(())
}

/// Removes a file, a symbolic link or a directory.
///
/// Another process may still add entries to the directory.
fn remove(parent: BorrowedFd<'_>, name: &OsStr, depth: u32) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) if depth > 0 => {}
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    for _ in 0..RETRIES {
        match openat(parent, name, OFlag::O_RDONLY | DIRECTORY, Bits::empty()) {
            Ok(directory) => {
                for entry in entries(&directory)? {
                    remove(directory.as_fd(), OsStr::from_bytes(&entry), depth - 1)?;
                }
            }
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY) => {}
            Err(Errno::ENOENT) => return Ok(()),
            done => return done,
        }
    }
    Err(Errno::ENOTEMPTY)
}

/// Opens a directory of this user whose mode excludes all other users.
///
/// Returns `None` for any other file.
///
/// No other user can have moved such a directory here, because `rename(2)` of a directory requires write permission for it.
fn unfinished(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
    let directory = match openat(parent, name, OFlag::O_RDONLY | DIRECTORY, Bits::empty()) {
        // The directory of another user, a removed one, or another file. The next use of the path checks it.
        Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        opened => opened?,
    };
    let status = fstat(&directory)?;
    let ours = status.st_uid == geteuid().as_raw() && status.st_mode & OTHERS == 0;
    Ok(ours.then_some(directory))
}

/// Sets the mode of a new file or directory.
///
/// Does nothing if it has the mode, because `fchmod` may clear the set-group-id bit.
fn set_mode(created: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
    if fstat(created)?.st_mode & 0o7777 == bits { Ok(()) } else { fchmod(created, Bits::from_bits_truncate(bits)) }
}

/// Returns the mode of a directory for files of this mode.
///
/// Users that may read the files may search the directory. If other users may write, new files inherit the group of the
/// directory.
fn directory_bits(file: u32) -> u32 {
    let file = file & 0o666;
    let group = if file & OTHERS_WRITE == 0 { 0 } else { SET_GROUP_ID };
    file | (file & 0o444) >> 2 | group
}

/// Lists the entries of a directory, without `.` and `..`.
fn entries(directory: &OwnedFd) -> Result<impl Iterator<Item = Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(openat(directory, ".", OFlag::O_RDONLY | DIRECTORY, Bits::empty())?)?.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names.into_iter())
}
