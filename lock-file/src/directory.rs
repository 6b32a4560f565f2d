use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use lock_core::{Error, ErrorKind, OpenMode, Result, StoreId, StoreUrl};
use lock_table::filesystem::advise_on_absent;
use lock_table::{FileAccess, TableOptions};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode as Bits, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::{beneath, runtime_dir, tree};

/// The directory of root's stores with a plain name. Those of other users are in `$XDG_RUNTIME_DIR`.
const ROOT_DIRECTORY: &str = "/run/lock";

/// The longest time that a process of another user may take to create a directory and set its mode.
pub(crate) const CREATION: Duration = Duration::from_secs(2);

/// The pause between two checks whether a process of another user has created a file or directory.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// The names of the table and of the directory of lock files.
pub(crate) const TABLE: &str = "table";
pub(crate) const LOCKS: &str = "locks";

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
    pub(crate) path: PathBuf,
    pub(crate) options: TableOptions,
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
            && !url.location().is_absolute()
            && let Some(runtime) = path.parent()
        {
            runtime_dir::check(url, runtime, user.as_raw())?;
        }
        Ok(path)
    }

    /// Opens the directory, creates it if the mode says so, and checks that it is safe to use.
    ///
    /// Returns it with its descriptor.
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
    /// table, no process begins to use a lock file that exists now.
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
            Err(errno) => return Err(Error::system("open", errno).at(&self.path.join(LOCKS))),
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

    /// Sleeps for a moment if a process of another user is creating the directory.
    ///
    /// Returns whether that is so. Such a directory is new. It may contain a table, because the other process may have finished meanwhile.
    pub(crate) fn wait_for_creator(path: &Path) -> bool {
        let by_another =
            |status: FileStat| kind(&status) == SFlag::S_IFDIR && status.st_uid != geteuid().as_raw() && is_new(&status);
        let being_created = fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(by_another);
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
    pub(crate) fn open_checked(&self) -> Result<OwnedFd> {
        let directory = match open_directory(&self.path) {
            Err(Errno::ENOENT) => return Err(advise_on_absent(Error::absent(), &self.path).at(&self.path)),
            opened => opened.map_err(|errno| Error::system("open", errno).at(&self.path))?,
        };
        let status = fstat(&directory).map_err(|errno| Error::system("fstat", errno))?;
        match kind(&status) {
            SFlag::S_IFDIR => {}
            SFlag::S_IFLNK => {
                return Err(untrusted(format!(
                    "its directory {} is a symbolic link; use the path that it leads to",
                    self.path.display()
                )));
            }
            _ => return Err(Error::not_a_store("the path is not a directory")),
        }
        self.options.check_access(&self.path, (&status).into(), || access_of_parent(&self.path, &status))?;
        Ok(directory)
    }

    /// Returns the error for a path below the directory that contains a symbolic link.
    pub(crate) fn symbolic_link(&self, path: &Path) -> Error {
        untrusted(format!("the path {} contains a symbolic link; remove it", self.path.join(path).display()))
    }
}

/// Opens a path with `O_PATH`. The caller checks that it is a directory.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Bits::empty())
}

/// Returns the owner, group and mode of the parent directory.
///
/// Returns `None` if the path leads to another directory.
fn access_of_parent(path: &Path, status: &FileStat) -> Option<FileAccess> {
    let parent = openat(AT_FDCWD, path.parent()?, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Bits::empty()).ok()?;
    let named = fstatat(&parent, path.file_name()?, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    let same = (named.st_dev, named.st_ino) == (status.st_dev, status.st_ino);
    if same { fstat(&parent).ok().map(|status| (&status).into()) } else { None }
}

pub(crate) fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Checks whether the status of a file changed within [`CREATION`].
pub(crate) fn is_new(status: &FileStat) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(status.st_ctime.unsigned_abs());
    let changed = changed + Duration::from_nanos(status.st_ctime_nsec.unsigned_abs());
    SystemTime::now().duration_since(changed).unwrap_or_default() < CREATION
}

/// Checks whether a name has the form of a [`StoreId`].
///
/// Other files in the directory do not belong to a store.
fn is_store_id(name: &str) -> bool {
    name.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

pub(crate) fn untrusted(reason: impl Into<String>) -> Error {
    Error::untrusted(reason)
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
    #[case("file:.hidden", Some("/run/user/1000"))]
    #[case("file:x", None)]
    #[case("file:x", Some("relative"))]
    fn urls_without_a_directory_are_refused(#[case] url: &str, #[case] runtime: Option<&str>) {
        let error = path_in(&url.parse().unwrap(), false, runtime.map(PathBuf::from)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BadUrl), "{error}");
    }
}
