//! Creates and removes files below a store's directory, relative to a descriptor of it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lock_core::{Error, Result};
use lock_table::{FileAccess, IN_USE, TableOptions};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode as Bits, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, linkat, unlinkat};

use crate::beneath;

/// How often a directory may get a new entry while it is being removed.
const RETRIES: u32 = 100;

/// Levels of directories that are removed; the lock files are on the third.
const LEVELS: u32 = 8;

/// The mode bits of a directory that is not yet opened to others, those of others, and the set-group-id bit.
const UNFINISHED: u32 = 0o700;
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const SET_GROUP_ID: u32 = 0o2000;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The directory of a store. New files in it get the table's owner and group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    /// Owner, group and mode of the table.
    pub(crate) like: FileAccess,
}

impl Tree<'_> {
    /// Opens a file, which is made if it is not there, in a directory that is there.
    pub(crate) fn open_or_create(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        if self.like.mode & OTHERS == 0 && self.like.uid == geteuid().as_raw() {
            return beneath::open(self.directory, path, flags | OFlag::O_CREAT, Bits::from_bits_truncate(self.like.mode));
        }
        match beneath::open(self.directory, path, flags, Bits::empty()) {
            Err(Errno::ENOENT) => self.create(path),
            other => other,
        }
    }

    /// Creates a file that has its owner, group and mode before others can see it.
    fn create(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
        let parent = beneath::open(self.directory, parent, OFlag::O_PATH | OFlag::O_DIRECTORY, Bits::empty())?;
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let unnamed = openat(&parent, ".", flags | OFlag::O_TMPFILE, Bits::from_bits_truncate(0o600));
        if let Ok(file) = unnamed {
            self.give(file.as_fd(), self.file_bits())?;
            let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
            match linkat(AT_FDCWD, itself.as_str(), &parent, name, AtFlags::AT_SYMLINK_FOLLOW) {
                // No `/proc`, or a file system on which a file without a name cannot get one.
                Err(Errno::ENOENT | Errno::EXDEV | Errno::EPERM | Errno::EOPNOTSUPP) => {}
                done => return done.map(|()| file),
            }
        }
        let create = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let file = openat(&parent, name, create, Bits::from_bits_truncate(0o600))?;
        self.give(file.as_fd(), self.file_bits()).inspect_err(|_| {
            let _ = unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir);
        })?;
        Ok(file)
    }

    /// The mode bits of a file: the table's, and [`IN_USE`].
    fn file_bits(&self) -> u32 {
        self.like.mode & 0o666 | IN_USE
    }

    /// Makes the directories that a file is in, those that are not there.
    pub(crate) fn make_parents(&self, path: &Path) -> Result<(), Errno> {
        let mut parents: Vec<_> = path.ancestors().skip(1).filter(|part| !part.as_os_str().is_empty()).collect();
        parents.reverse();
        parents.into_iter().try_for_each(|directory| self.make(directory))
    }

    fn make(&self, path: &Path) -> Result<(), Errno> {
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
        // One that a killed process left unfinished is finished, too.
        let Some(made) = unfinished(parent, name)? else { return Ok(()) };
        self.give(made.as_fd(), directory_bits(self.like.mode)).inspect_err(|_| {
            let _ = unlinkat(parent, name, UnlinkatFlags::RemoveDir);
        })
    }

    /// Whether a file of another group, or also of another owner, gives every user the same rights.
    fn has_equal_rights(&self, owner_differs: bool) -> bool {
        let [owner, group, others] = [6, 3, 0].map(|shift| self.like.mode >> shift & 0o6);
        group == others && (!owner_differs || owner == group)
    }

    /// Gives what this process made the owner and the group of the table, and the mode. The set-group-id bit is kept.
    fn give(&self, made: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
        let status = fstat(made)?;
        let uid = (status.st_uid != self.like.uid && geteuid().is_root()).then(|| Uid::from_raw(self.like.uid));
        let gid = (status.st_gid != self.like.gid).then(|| Gid::from_raw(self.like.gid));
        if uid.is_some() || gid.is_some() {
            match fchown(made, uid, gid) {
                // EINVAL: the root of a user namespace that does not have the owner.
                Err(Errno::EPERM | Errno::EINVAL) if self.has_equal_rights(uid.is_some()) => {}
                done => done?,
            }
        }
        finish(made, bits | status.st_mode & SET_GROUP_ID)
    }
}

/// Makes the directory of a store, with the owner, the group and the mode that the options say. False when it is there already.
pub(crate) fn make_store_directory(path: &Path, options: &TableOptions) -> Result<bool> {
    let made = match mkdirat(AT_FDCWD, path, Bits::from_bits_truncate(UNFINISHED)) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(Error::refused("mkdir", errno)),
    };
    let bits = directory_bits(options.permissions().bits());
    let found = if made || bits != UNFINISHED { unfinished(AT_FDCWD, path.as_os_str()) } else { Ok(None) };
    let Some(directory) = found.map_err(|errno| Error::refused("open", errno))? else { return Ok(made) };
    // A directory with something in it is the user's own, and not one that a killed process left.
    if !made && entries(&directory).map_err(|errno| Error::system("readdir", errno))?.next().is_some() {
        return Ok(false);
    }
    let given = options.give(directory.as_fd()).and_then(|()| {
        let inherited = fstat(&directory).map_err(|errno| Error::system("fstat", errno))?.st_mode & SET_GROUP_ID;
        finish(directory.as_fd(), bits | inherited).map_err(|errno| Error::system("fchmod", errno))
    });
    if given.is_err() && made {
        let _ = unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir);
    }
    given.map(|()| made)
}

/// Removes the directories whose names are those of stores, with their content.
pub(crate) fn remove_stores(locks: &OwnedFd, is_store: impl Fn(&str) -> bool) -> Result<()> {
    let all = entries(locks).map_err(|errno| Error::system("readdir", errno))?;
    let stores = all.filter(|name| is_store(&String::from_utf8_lossy(name)));
    for name in stores {
        remove(locks.as_fd(), OsStr::from_bytes(&name), LEVELS).map_err(|errno| Error::system("unlink", errno))?;
    }
    Ok(())
}

/// Removes a file, a link, or a directory to which a process that does not know yet may be adding.
fn remove(parent: BorrowedFd<'_>, name: &OsStr, levels: u32) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) if levels > 0 => {}
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    for _ in 0..RETRIES {
        match openat(parent, name, OFlag::O_RDONLY | DIRECTORY, Bits::empty()) {
            Ok(directory) => {
                for entry in entries(&directory)? {
                    remove(directory.as_fd(), OsStr::from_bytes(&entry), levels - 1)?;
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

/// A descriptor of a directory that this user made and has not opened to others. No other user can have put it there: to move a directory
/// from elsewhere one must be allowed to write to it.
fn unfinished(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>, Errno> {
    let directory = match openat(parent, name, OFlag::O_RDONLY | DIRECTORY, Bits::empty()) {
        // Another user's, removed, or something else; whether it can be used is checked when it is.
        Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        opened => opened?,
    };
    let status = fstat(&directory)?;
    let ours = status.st_uid == geteuid().as_raw() && status.st_mode & OTHERS == 0;
    Ok(ours.then_some(directory))
}

/// Opens a new file or directory to others. A change of the mode may take the set-group-id bit away, so that there is none without need.
fn finish(made: BorrowedFd<'_>, bits: u32) -> Result<(), Errno> {
    if fstat(made)?.st_mode & 0o7777 == bits { Ok(()) } else { fchmod(made, Bits::from_bits_truncate(bits)) }
}

/// The mode bits of a directory whose files have these. A user that may read may also search. In one that others may write to, new files have the
/// directory's group.
fn directory_bits(file: u32) -> u32 {
    let file = file & 0o666;
    let group = if file & OTHERS_WRITE == 0 { 0 } else { SET_GROUP_ID };
    file | (file & 0o444) >> 2 | group
}

/// The names of the entries of a directory.
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
