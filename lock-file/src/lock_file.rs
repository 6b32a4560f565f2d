//! The lock files in the directory of a store.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use lock_core::{Error, ErrorKind, LockId, Result, StoreId};
use lock_table::{FileAccess, FileOwner, Table};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode as Bits, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

use crate::beneath;
use crate::directory::{Directory, LOCKS, PAUSE, TABLE, is_new, kind, open_directory, untrusted};
use crate::tree::Tree;

/// Number of times to retry when another process removes a part of the path of a lock file.
const RETRIES: u32 = 100;

impl Directory {
    /// Returns the path of a lock file.
    pub(crate) fn path_of(&self, store: StoreId, id: LockId) -> PathBuf {
        self.path.join(relative(store, id))
    }

    /// Opens a lock file, and creates it if it is absent.
    ///
    /// # Errors
    /// - [`ErrorKind::Destroyed`] if the store was destroyed.
    /// - [`ErrorKind::Untrusted`] if the file or a part of its path is not safe to use.
    pub(crate) fn lock_file(&self, table: &Table, id: LockId) -> Result<OwnedFd> {
        let path = relative(table.id(), id);
        let mut retries = 0;
        loop {
            if table.is_destroyed() {
                return Err(Error::destroyed());
            }
            let directory = self.open_checked().map_err(|error| match error.kind() {
                ErrorKind::Absent => Error::destroyed(),
                _ => error,
            })?;
            // The directory may have been replaced by another one, without this table.
            let Some(access) = access_of(&directory, table)? else { return Err(Error::destroyed()) };
            let tree = Tree { directory: directory.as_fd(), access };
            let errno = match tree.open_or_create(&path) {
                Ok(file) => {
                    // A store loses its name before its lock files are removed. If it still has the name, all processes share
                    // this file.
                    if table.is_destroyed() {
                        let _ = self.remove();
                        return Err(Error::destroyed());
                    }
                    self.check_file(&file, access, &self.path.join(&path))?;
                    return Ok(file);
                }
                Err(errno) => errno,
            };
            retries += 1;
            match errno {
                Errno::EACCES if is_being_created(&directory, &path) => thread::sleep(PAUSE),
                _ if retries > RETRIES => return Err(Error::system("open", errno).at(&self.path.join(&path))),
                // The directory is absent, or a process that destroys the store removed it. The next iteration checks which.
                Errno::ENOENT => match tree.create_parents(&path) {
                    Err(Errno::EACCES) if is_being_created(&directory, &path) => thread::sleep(PAUSE),
                    Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.symbolic_link(&path)),
                    Err(errno) if errno != Errno::ENOENT => return Err(Error::system("mkdir", errno).at(&self.path.join(&path))),
                    _ => {}
                },
                Errno::EEXIST => {}
                Errno::ELOOP | Errno::ENOTDIR => return Err(self.symbolic_link(&path)),
                errno => return Err(Error::system("open", errno).at(&self.path.join(&path))),
            }
        }
    }

    /// Notifies the waiters of a lock: opens the lock file read-only and closes it.
    ///
    /// If that fails, waiters retry within 100 ms.
    pub(crate) fn notify_waiters(&self, store: StoreId, id: LockId) {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened =
            open_directory(&self.path).map(|directory| beneath::open(directory, &relative(store, id), flags, Bits::empty()));
        drop(opened);
    }

    /// Checks the type, owner and mode of a lock file.
    ///
    /// Any user that may write to the store can have created it.
    fn check_file(&self, file: &OwnedFd, table: FileAccess, path: &Path) -> Result<()> {
        let status = fstat(file).map_err(|errno| Error::system("fstat", errno))?;
        if kind(&status) != SFlag::S_IFREG {
            return Err(untrusted(format!("{} is not a regular file; remove it", path.display())));
        }
        if status.st_nlink > 1 {
            return Err(untrusted(format!("{} has {} hard links, not 1; remove the others", path.display(), status.st_nlink)));
        }
        let mut found = FileAccess::from(&status);
        if found.uid == table.uid {
            // The owner of the table was checked before.
            found.uid = geteuid().as_raw();
        }
        // The group of the file may differ: it only decides which users may open the file.
        let (mut options, mode) = (self.options, self.options.permissions());
        (options.mode, options.group) = (Some(mode), None);
        if mode.bits() & 0o022 != 0 {
            options.owner = Some(FileOwner::Any);
        }
        options.check_access(path, found, || None)
    }
}

/// Returns the path of a lock file relative to the directory of the store.
fn relative(store: StoreId, id: LockId) -> PathBuf {
    Path::new(LOCKS).join(store.to_string()).join(format!("{:02x}", id.get() % 256)).join(id.to_string())
}

/// Returns the owner, group and mode of the table.
///
/// Returns `None` if the directory contains another table or none.
fn access_of(directory: &OwnedFd, table: &Table) -> Result<Option<FileAccess>> {
    match fstatat(directory, TABLE, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(((status.st_dev, status.st_ino) == table.device_and_inode()).then(|| (&status).into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::system("fstatat of the table in the store's directory", errno)),
    }
}

/// Checks whether a file or one of its parents below the directory is new or was changed just now.
fn is_being_created(directory: &OwnedFd, path: &Path) -> bool {
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    let status = |part: &Path| fstatat(directory, part, AtFlags::AT_SYMLINK_NOFOLLOW);
    parts.map(status).any(|status| status.is_ok_and(|status| is_new(&status)))
}
