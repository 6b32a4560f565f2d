use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use lock_core::{Error, ErrorKind, LockId, OpenMode, Result, StoreId, StoreUrl};
use lock_table::filesystem::advise_on_absent;
use lock_table::{FileAccess, FileOwner, Table, TableOptions};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode as Bits, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::tree::{self, Tree};
use crate::{beneath, runtime};

/// Where the stores of root are that are given by name; others have theirs in `$XDG_RUNTIME_DIR`.
const ROOTS: &str = "/run/lock";

/// How often something in the directory may vanish while it is being opened.
const RETRIES: u32 = 100;

/// How long another user's process may take to make a directory and open it to others, and the pause between two looks.
const MAKING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// The name of the table in the directory, and that of the directory of lock files.
const TABLE: &str = "table";
const LOCKS: &str = "locks";

/// The directory of a store: `table`, and `locks/STORE/XX/ID`, made when a lock is first used.
///
/// Lock files are in a directory with the identity of their store, so that no other store made in the same place ever meets them. None
/// is removed while the store is there: two handles could lock two files of one name.
///
/// The content of the directory is reached through a descriptor of the directory, which is opened and checked each time, and without
/// following links: a member of a shared store can replace anything in it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    options: TableOptions,
    /// Whether this call made it.
    made: bool,
}

impl Directory {
    /// The directory that a URL means.
    pub(crate) fn place(url: &StoreUrl) -> Result<PathBuf> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let user = geteuid();
        let path = place(url, user.is_root(), runtime)?;
        if !user.is_root()
            && !Path::new(url.place()).is_absolute()
            && let Some(runtime) = path.parent()
        {
            runtime::check(url, runtime, user.as_raw())?;
        }
        Ok(path)
    }

    /// Checks whether the directory is safe to use, and makes it if that is asked for. Returns it with a descriptor of it.
    pub(crate) fn open(path: &Path, mode: OpenMode, options: &TableOptions) -> Result<(Self, OwnedFd)> {
        let mut directory = Self { path: path.to_owned(), options: *options, made: false };
        if mode != OpenMode::Open {
            directory.made = directory.make()?;
        }
        let opened = match directory.enter() {
            Err(error) => {
                directory.forget();
                return Err(error);
            }
            opened => opened?,
        };
        Ok((directory, opened))
    }

    pub(crate) fn table(&self) -> PathBuf {
        self.path.join(TABLE)
    }

    /// Where the lock files of a store are.
    pub(crate) fn locks(&self, store: StoreId) -> PathBuf {
        self.path.join(LOCKS).join(store.to_string())
    }

    /// Where the file of a lock is.
    pub(crate) fn path_of(&self, store: StoreId, id: LockId) -> PathBuf {
        self.path.join(relative(store, id))
    }

    /// Opens a lock's file, which is made if it is not there.
    pub(crate) fn lock_file(&self, table: &Table, id: LockId) -> Result<OwnedFd> {
        let path = relative(table.id(), id);
        let mut retries = 0;
        loop {
            if table.is_destroyed() {
                return Err(ErrorKind::Destroyed.into());
            }
            let directory = self.enter().map_err(|error| match error.kind() {
                ErrorKind::Absent => ErrorKind::Destroyed.into(),
                _ => error,
            })?;
            // Another directory may have taken its place.
            let Some(like) = access_of(&directory, table)? else { return Err(ErrorKind::Destroyed.into()) };
            let tree = Tree { directory: directory.as_fd(), like };
            let errno = match tree.open_or_create(&path) {
                Ok(file) => {
                    // Files are removed after the table has lost its name. If it has it now, this file is the one that all others have.
                    if table.is_destroyed() {
                        let _ = self.remove();
                        return Err(ErrorKind::Destroyed.into());
                    }
                    self.check_file(&file, like, &self.path.join(&path))?;
                    return Ok(file);
                }
                Err(errno) => errno,
            };
            retries += 1;
            match errno {
                Errno::EACCES if is_being_made(&directory, &path) => thread::sleep(PAUSE),
                _ if retries > RETRIES => return Err(Error::refused("open", errno).at(&self.path.join(&path))),
                // Removed by a process that destroys a store: that is checked next.
                Errno::ENOENT => match tree.make_parents(&path) {
                    Err(Errno::EACCES) if is_being_made(&directory, &path) => thread::sleep(PAUSE),
                    Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.linked(&path)),
                    Err(errno) if errno != Errno::ENOENT => return Err(Error::refused("mkdir", errno).at(&self.path.join(&path))),
                    _ => {}
                },
                Errno::EEXIST => {}
                Errno::ELOOP | Errno::ENOTDIR => return Err(self.linked(&path)),
                errno => return Err(Error::refused("open", errno).at(&self.path.join(&path))),
            }
        }
    }

    /// Opens a lock's file for a moment and closes it, which wakes the waiters that watch it. Where that fails, they try again by
    /// themselves, a little later.
    pub(crate) fn call(&self, store: StoreId, id: LockId) {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let called =
            open_directory(&self.path).map(|directory| beneath::open(directory, &relative(store, id), flags, Bits::empty()));
        drop(called);
    }

    /// Checks that the store's path does not lead to another place than it did.
    pub(crate) fn check(&self) -> Result<()> {
        match self.enter() {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => Ok(()),
            entered => entered.map(drop),
        }
    }

    /// Removes the lock files of stores that are no more, and the directory if nothing else is in it.
    ///
    /// Whoever opens a lock file sees afterwards whether its table has its name still. So when there is no table, nobody will take a
    /// lock by the name of a file that is here by now, but by the files of a store that is yet to come.
    pub(crate) fn remove(&self) -> Result<()> {
        let directory = match self.enter() {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => return Ok(()),
            entered => entered?,
        };
        let is_gone = || fstatat(&directory, TABLE, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT);
        match beneath::open(&directory, Path::new(LOCKS), OFlag::O_RDONLY | OFlag::O_DIRECTORY, Bits::empty()) {
            Ok(locks) if is_gone() => {
                tree::remove_stores(&locks, is_store_id).map_err(|error| error.at(&self.path.join(LOCKS)))?;
            }
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.linked(Path::new(LOCKS))),
            Err(errno) => return Err(Error::refused("open", errno).at(&self.path.join(LOCKS))),
        }
        // They stay where another store is being made in the same place.
        let _ = unlinkat(&directory, LOCKS, UnlinkatFlags::RemoveDir);
        let _ = std::fs::remove_dir(&self.path);
        Ok(())
    }

    /// Takes back the making of a directory in which no store could be made.
    pub(crate) fn forget(&self) {
        if self.made {
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    /// Whether the directory has no table and was made a moment ago by another user's process, which is about to open it to others.
    fn is_being_made(&self) -> bool {
        let by_another =
            |status: FileStat| kind(&status) == SFlag::S_IFDIR && status.st_uid != geteuid().as_raw() && is_young(&status);
        fstatat(AT_FDCWD, &self.table(), AtFlags::AT_SYMLINK_NOFOLLOW).is_err()
            && fstatat(AT_FDCWD, &self.path, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(by_another)
    }

    /// Waits while another user's process makes the directory of this path. False when nothing is being made there.
    pub(crate) fn wait_for_maker(path: &Path, options: &TableOptions) -> bool {
        let being_made = Self { path: path.to_owned(), options: *options, made: false }.is_being_made();
        if being_made {
            thread::sleep(PAUSE);
        }
        being_made
    }

    /// Makes the directory; false when it is there already.
    fn make(&self) -> Result<bool> {
        tree::make_store_directory(&self.path, &self.options).map_err(|error| error.at(&self.path))
    }

    /// A descriptor of the directory, which was checked. It cannot be read through, but paths can be relative to it.
    fn enter(&self) -> Result<OwnedFd> {
        let directory = match open_directory(&self.path) {
            Err(Errno::ENOENT) => return Err(advise_on_absent(ErrorKind::Absent.into(), &self.path).at(&self.path)),
            opened => opened.map_err(|errno| Error::refused("open", errno).at(&self.path))?,
        };
        let status = fstat(&directory).map_err(|errno| Error::system("fstat", errno))?;
        match kind(&status) {
            SFlag::S_IFDIR => {}
            SFlag::S_IFLNK => return Err(not_ours(format!("its directory {} is a symbolic link", self.path.display()))),
            _ => return Err(ErrorKind::NotAStore { reason: "it is not a directory".to_owned() }.into()),
        }
        self.options.check_access(&self.path, (&status).into(), || access_of_parent(&self.path, &status))?;
        Ok(directory)
    }

    /// Checks a lock file. In a store that others may write to, any of them can have made it.
    fn check_file(&self, file: &OwnedFd, table: FileAccess, path: &Path) -> Result<()> {
        let status = fstat(file).map_err(|errno| Error::system("fstat", errno))?;
        if kind(&status) != SFlag::S_IFREG {
            return Err(not_ours(format!("{} is not a regular file", path.display())));
        }
        if status.st_nlink > 1 {
            return Err(not_ours(format!("{} has {} hard links", path.display(), status.st_nlink)));
        }
        let mut found = FileAccess::from(&status);
        if found.uid == table.uid {
            // The table's owner was checked.
            found.uid = geteuid().as_raw();
        }
        // The group is for those who may open it.
        let (mut options, mode) = (self.options, self.options.permissions());
        (options.mode, options.group) = (Some(mode), None);
        if mode.bits() & 0o022 != 0 {
            options.owner = Some(FileOwner::Any);
        }
        options.check_access(path, found, || None)
    }

    fn linked(&self, path: &Path) -> Error {
        not_ours(format!("{} is a symbolic link, or a part of it is", self.path.join(path).display()))
    }
}

/// The path of a lock's file, relative to the store's directory.
fn relative(store: StoreId, id: LockId) -> PathBuf {
    Path::new(LOCKS).join(store.to_string()).join(format!("{:02x}", id.get() % 256)).join(id.to_string())
}

/// Opens a directory for paths relative to it. What is at the path may also be something else, which is not opened.
fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Bits::empty())
}

/// Owner, group and mode of the table, if it is the one in this directory.
fn access_of(directory: &OwnedFd, table: &Table) -> Result<Option<FileAccess>> {
    match fstatat(directory, TABLE, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(((status.st_dev, status.st_ino) == table.device_and_inode()).then(|| (&status).into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::refused("stat the table in the store's directory", errno)),
    }
}

/// Owner, group and mode of the directory that has this directory under its name.
fn access_of_parent(path: &Path, status: &FileStat) -> Option<FileAccess> {
    let parent = openat(AT_FDCWD, path.parent()?, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Bits::empty()).ok()?;
    let named = fstatat(&parent, path.file_name()?, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    let same = (named.st_dev, named.st_ino) == (status.st_dev, status.st_ino);
    if same { fstat(&parent).ok().map(|status| (&status).into()) } else { None }
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Whether a directory on the way to a file, or the file, was made or changed a moment ago.
fn is_being_made(directory: &OwnedFd, path: &Path) -> bool {
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    let status = |part: &Path| fstatat(directory, part, AtFlags::AT_SYMLINK_NOFOLLOW);
    parts.map(status).any(|status| status.is_ok_and(|status| is_young(&status)))
}

fn is_young(status: &FileStat) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(status.st_ctime.unsigned_abs());
    let changed = changed + Duration::from_nanos(status.st_ctime_nsec.unsigned_abs());
    SystemTime::now().duration_since(changed).unwrap_or_default() < MAKING
}

/// Whether it looks as a [`StoreId`] prints: what else is there is not ours.
fn is_store_id(name: &str) -> bool {
    name.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn not_ours(reason: impl Into<String>) -> Error {
    ErrorKind::NotOurs { reason: reason.into() }.into()
}

fn place(url: &StoreUrl, is_root: bool, runtime: Option<PathBuf>) -> Result<PathBuf> {
    url.path_in(|| if is_root { Ok(PathBuf::from(ROOTS)) } else { runtime::directory(url, runtime) })
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
    fn a_path_is_where_it_says_and_a_name_is_in_the_runtime_directory(
        #[case] url: &str,
        #[case] is_root: bool,
        #[case] runtime: Option<&str>,
        #[case] expected: &str,
    ) {
        assert_eq!(place(&url.parse().unwrap(), is_root, runtime.map(PathBuf::from)).unwrap(), Path::new(expected));
    }

    #[rstest]
    #[case(&StoreId::new(0).to_string(), true)]
    #[case(&StoreId::new(u128::MAX).to_string(), true)]
    #[case("notes", false)]
    #[case("00000000-0000-0000-0000-00000000000x", false)]
    fn a_store_id_is_told_from_what_others_keep(#[case] name: &str, #[case] is: bool) {
        assert_eq!(is_store_id(name), is);
    }

    #[rstest]
    #[case("file:", Some("/run/user/1000"))]
    #[case("file:a/b", Some("/run/user/1000"))]
    #[case("file:..", Some("/run/user/1000"))]
    #[case("file:.hidden", Some("/run/user/1000"))]
    #[case("file:x", None)]
    #[case("file:x", Some("relative"))]
    fn what_has_no_place_is_refused(#[case] url: &str, #[case] runtime: Option<&str>) {
        let error = place(&url.parse().unwrap(), false, runtime.map(PathBuf::from)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BadUrl { .. }), "{error}");
    }
}
