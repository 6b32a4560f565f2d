use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use lock_core::{Error, ErrorKind, LockId, OpenMode, Result, StoreId, StoreUrl};
use lock_table::{FileAccess, FileOwner, Table, TableOptions};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode as Bits, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::tree::{self, Tree};
use crate::{beneath, runtime_dir};

/// The directory of root's stores with a plain name. Those of other users are in `$XDG_RUNTIME_DIR`.
const ROOT_DIRECTORY: &str = "/run/lock";

/// Number of times to retry when another process removes a part of the path of a lock file.
const RETRIES: u32 = 100;

/// The longest time that a process of another user may take to create a directory and set its mode, and the pause between two
/// checks.
const CREATION: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// The names of the table and of the directory of lock files.
const TABLE: &str = "table";
const LOCKS: &str = "locks";

/// The directory of a store. It contains `table` and the lock files `locks/STORE/XX/ID`.
///
/// `STORE` is the identity of the store, so a later store in the same directory has other lock files. `XX` is the id modulo 256,
/// in hexadecimal. A lock file is created at the first use of its lock. No lock file is removed while the store exists, because
/// two handles could then lock two different files.
///
/// A member of a shared store can replace any file in the directory. So each operation opens and checks the directory, opens
/// files relative to that descriptor, and follows no symbolic link.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    options: TableOptions,
    /// This call created the directory.
    created: bool,
}

impl Directory {
    /// Returns the path of the directory that a URL names.
    pub(crate) fn path_of_url(url: &StoreUrl) -> Result<PathBuf> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let user = geteuid();
        let path = path_in(url, user.is_root(), runtime)?;
        if !user.is_root()
            && !Path::new(url.place()).is_absolute()
            && let Some(runtime) = path.parent()
        {
            runtime_dir::check(url, runtime, user.as_raw())?;
        }
        Ok(path)
    }

    /// Opens the directory, creates it if the mode says so, and checks that it is safe to use. Returns it with its descriptor.
    pub(crate) fn open(path: &Path, mode: OpenMode, options: &TableOptions) -> Result<(Self, OwnedFd)> {
        let mut directory = Self { path: path.to_owned(), options: *options, created: false };
        if mode != OpenMode::Open {
            directory.created = directory.create()?;
        }
        let opened = match directory.open_checked() {
            Err(error) => {
                directory.undo_creation();
                return Err(error);
            }
            opened => opened?,
        };
        Ok((directory, opened))
    }

    /// Returns the path of the table.
    pub(crate) fn table(&self) -> PathBuf {
        self.path.join(TABLE)
    }

    /// Returns the path of the directory that contains the lock files of a store.
    pub(crate) fn locks_path(&self, store: StoreId) -> PathBuf {
        self.path.join(LOCKS).join(store.to_string())
    }

    /// Returns the path of a lock file.
    pub(crate) fn path_of(&self, store: StoreId, id: LockId) -> PathBuf {
        self.path.join(relative(store, id))
    }

    /// Opens a lock file, and creates it if it is absent.
    ///
    /// # Errors
    /// - [`ErrorKind::Destroyed`] if the store was destroyed.
    /// - [`ErrorKind::NotOurs`] if the file or a part of its path is not safe to use.
    pub(crate) fn lock_file(&self, table: &Table, id: LockId) -> Result<OwnedFd> {
        let path = relative(table.id(), id);
        let mut retries = 0;
        loop {
            if table.is_destroyed() {
                return Err(ErrorKind::Destroyed.into());
            }
            let directory = self.open_checked().map_err(|error| match error.kind() {
                ErrorKind::Absent => ErrorKind::Destroyed.into(),
                _ => error,
            })?;
            // The directory may have been replaced by another one, without this table.
            let Some(access) = access_of(&directory, table)? else { return Err(ErrorKind::Destroyed.into()) };
            let tree = Tree { directory: directory.as_fd(), access };
            let errno = match tree.open_or_create(&path) {
                Ok(file) => {
                    // A store loses its name before its lock files are removed. If it still has the name, all processes share
                    // this file.
                    if table.is_destroyed() {
                        let _ = self.remove();
                        return Err(ErrorKind::Destroyed.into());
                    }
                    self.check_file(&file, access, &self.path.join(&path))?;
                    return Ok(file);
                }
                Err(errno) => errno,
            };
            retries += 1;
            match errno {
                Errno::EACCES if is_being_created(&directory, &path) => thread::sleep(PAUSE),
                _ if retries > RETRIES => return Err(Error::refused("open", errno).at(&self.path.join(&path))),
                // The directory is absent, or a process that destroys the store removed it. The next iteration checks which.
                Errno::ENOENT => match tree.create_parents(&path) {
                    Err(Errno::EACCES) if is_being_created(&directory, &path) => thread::sleep(PAUSE),
                    Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.symbolic_link(&path)),
                    Err(errno) if errno != Errno::ENOENT => return Err(Error::refused("mkdir", errno).at(&self.path.join(&path))),
                    _ => {}
                },
                Errno::EEXIST => {}
                Errno::ELOOP | Errno::ENOTDIR => return Err(self.symbolic_link(&path)),
                errno => return Err(Error::refused("open", errno).at(&self.path.join(&path))),
            }
        }
    }

    /// Notifies the waiters of a lock: opens the lock file read-only and closes it. If that fails, waiters retry within 100 ms.
    pub(crate) fn notify_waiters(&self, store: StoreId, id: LockId) {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened =
            open_directory(&self.path).map(|directory| beneath::open(directory, &relative(store, id), flags, Bits::empty()));
        drop(opened);
    }

    /// Checks that the directory is absent or still safe to use.
    pub(crate) fn check(&self) -> Result<()> {
        match self.open_checked() {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => Ok(()),
            opened => opened.map(drop),
        }
    }

    /// Removes the lock files of destroyed stores, and then the directory if it is empty.
    ///
    /// A process that opens a lock file checks afterwards that the table still has its name. So when the directory contains no
    /// table, no process locks a file that exists now.
    pub(crate) fn remove(&self) -> Result<()> {
        let directory = match self.open_checked() {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => return Ok(()),
            opened => opened?,
        };
        let is_gone = || fstatat(&directory, TABLE, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT);
        match beneath::open(&directory, Path::new(LOCKS), OFlag::O_RDONLY | OFlag::O_DIRECTORY, Bits::empty()) {
            Ok(locks) if is_gone() => {
                tree::remove_stores(&locks, is_store_id).map_err(|error| error.at(&self.path.join(LOCKS)))?;
            }
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.symbolic_link(Path::new(LOCKS))),
            Err(errno) => return Err(Error::refused("open", errno).at(&self.path.join(LOCKS))),
        }
        // Both calls fail when another process creates a store in the directory, or when the directory contains other files.
        let _ = unlinkat(&directory, LOCKS, UnlinkatFlags::RemoveDir);
        let _ = std::fs::remove_dir(&self.path);
        Ok(())
    }

    /// Removes the directory if this call created it. Called when the store could not be created.
    pub(crate) fn undo_creation(&self) {
        if self.created {
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Checks whether a process of another user is creating the directory: it is new, and it contains no table.
    fn is_being_created(&self) -> bool {
        let by_another =
            |status: FileStat| kind(&status) == SFlag::S_IFDIR && status.st_uid != geteuid().as_raw() && is_new(&status);
        fstatat(AT_FDCWD, &self.table(), AtFlags::AT_SYMLINK_NOFOLLOW).is_err()
            && fstatat(AT_FDCWD, &self.path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(by_another)
    }

    /// Sleeps for a moment if a process of another user is creating the directory. Returns whether that is so.
    pub(crate) fn wait_for_creator(path: &Path, options: &TableOptions) -> bool {
        let being_created = Self { path: path.to_owned(), options: *options, created: false }.is_being_created();
        if being_created {
            thread::sleep(PAUSE);
        }
        being_created
    }

    /// Creates the directory. Returns false if it exists.
    fn create(&self) -> Result<bool> {
        tree::create_store_directory(&self.path, &self.options).map_err(|error| error.at(&self.path))
    }

    /// Opens the directory with `O_PATH`, and checks its type, owner and mode.
    fn open_checked(&self) -> Result<OwnedFd> {
        let directory = match open_directory(&self.path) {
            Err(Errno::ENOENT) => return Err(Error::from(ErrorKind::Absent).at(&self.path)),
            opened => opened.map_err(|errno| Error::refused("open", errno).at(&self.path))?,
        };
        let status = fstat(&directory).map_err(|errno| Error::system("fstat", errno))?;
        match kind(&status) {
            SFlag::S_IFDIR => {}
            SFlag::S_IFLNK => {
                return Err(not_ours(format!(
                    "its directory {} is a symbolic link; use the path that it leads to",
                    self.path.display()
                )));
            }
            _ => return Err(ErrorKind::NotAStore { reason: "the path is not a directory".to_owned() }.into()),
        }
        self.options.check_access(&self.path, (&status).into(), || access_of_parent(&self.path, &status))?;
        Ok(directory)
    }

    /// Checks the type, owner and mode of a lock file. Any user that may write to the store can have created it.
    fn check_file(&self, file: &OwnedFd, table: FileAccess, path: &Path) -> Result<()> {
        let status = fstat(file).map_err(|errno| Error::system("fstat", errno))?;
        if kind(&status) != SFlag::S_IFREG {
            return Err(not_ours(format!("{} is not a regular file; remove it", path.display())));
        }
        if status.st_nlink > 1 {
            return Err(not_ours(format!("{} has {} hard links, not 1; remove the others", path.display(), status.st_nlink)));
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

    fn symbolic_link(&self, path: &Path) -> Error {
        not_ours(format!("the path {} contains a symbolic link; remove it", self.path.join(path).display()))
    }
}

/// Returns the path of a lock file relative to the directory of the store.
fn relative(store: StoreId, id: LockId) -> PathBuf {
    Path::new(LOCKS).join(store.to_string()).join(format!("{:02x}", id.get() % 256)).join(id.to_string())
}

/// Opens a path with `O_PATH`. The caller checks that it is a directory.
fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Bits::empty())
}

/// Returns the owner, group and mode of the table, or `None` if the directory contains another table or none.
fn access_of(directory: &OwnedFd, table: &Table) -> Result<Option<FileAccess>> {
    match fstatat(directory, TABLE, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(((status.st_dev, status.st_ino) == table.device_and_inode()).then(|| (&status).into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::refused("fstatat of the table in the store's directory", errno)),
    }
}

/// Returns the owner, group and mode of the parent directory, or `None` if the path leads to another directory.
fn access_of_parent(path: &Path, status: &FileStat) -> Option<FileAccess> {
    let parent = openat(AT_FDCWD, path.parent()?, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Bits::empty()).ok()?;
    let named = fstatat(&parent, path.file_name()?, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    let same = (named.st_dev, named.st_ino) == (status.st_dev, status.st_ino);
    if same { fstat(&parent).ok().map(|status| (&status).into()) } else { None }
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Checks whether a file or one of its parents below the directory is new or was changed just now.
fn is_being_created(directory: &OwnedFd, path: &Path) -> bool {
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    let status = |part: &Path| fstatat(directory, part, AtFlags::AT_SYMLINK_NOFOLLOW);
    parts.map(status).any(|status| status.is_ok_and(|status| is_new(&status)))
}

/// Checks whether the status of a file changed within [`CREATION`].
fn is_new(status: &FileStat) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(status.st_ctime.unsigned_abs());
    let changed = changed + Duration::from_nanos(status.st_ctime_nsec.unsigned_abs());
    SystemTime::now().duration_since(changed).unwrap_or_default() < CREATION
}

/// Checks whether a name has the form of a [`StoreId`]. Other files in the directory do not belong to a store.
fn is_store_id(name: &str) -> bool {
    name.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn not_ours(reason: impl Into<String>) -> Error {
    ErrorKind::NotOurs { reason: reason.into() }.into()
}

/// Returns the path that a URL names for root or for a user with this runtime directory.
fn path_in(url: &StoreUrl, is_root: bool, runtime: Option<PathBuf>) -> Result<PathBuf> {
    url.path_in(|| if is_root { Ok(PathBuf::from(ROOT_DIRECTORY)) } else { runtime_dir::directory(url, runtime) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("file:/var/lib/x", false, None, "/var/lib/x")]
    #[case("file:x", true, None, "/run/lock/x")]
    #[case("file:x", true, Some("/run/user/0"), "/run/lock/x")]
    #[case("file:x", false, Some("/run/user/1000"), "/run/user/1000/x")]
    fn an_absolute_path_is_used_and_a_name_is_in_the_runtime_directory(
        #[case] url: &str,
        #[case] is_root: bool,
        #[case] runtime: Option<&str>,
        #[case] expected: &str,
    ) {
        assert_eq!(path_in(&url.parse().unwrap(), is_root, runtime.map(PathBuf::from)).unwrap(), Path::new(expected));
    }

    #[rstest]
    #[case(&StoreId::new(0).to_string(), true)]
    #[case(&StoreId::new(u128::MAX).to_string(), true)]
    #[case("notes", false)]
    #[case("00000000-0000-0000-0000-00000000000x", false)]
    fn only_names_in_the_form_of_a_store_id_are_store_ids(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_store_id(name), expected);
    }

    #[rstest]
    #[case("file:", Some("/run/user/1000"))]
    #[case("file:a/b", Some("/run/user/1000"))]
    #[case("file:..", Some("/run/user/1000"))]
    #[case("file:.hidden", Some("/run/user/1000"))]
    #[case("file:x", None)]
    #[case("file:x", Some("relative"))]
    fn urls_without_a_directory_are_refused(#[case] url: &str, #[case] runtime: Option<&str>) {
        let error = path_in(&url.parse().unwrap(), false, runtime.map(PathBuf::from)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BadUrl { .. }), "{error}");
    }
}
