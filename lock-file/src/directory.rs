use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lock_core::table::{Mode, Table};
use lock_core::{Error, ErrorKind, LockId, OpenMode, Result, StoreId, StoreUrl};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode as Bits, SFlag, fchmod, fstat};

use crate::runtime;

/// Where the stores of root are that are given by name; others have theirs in `$XDG_RUNTIME_DIR`.
const ROOTS: &str = "/run/lock";

/// How often something in the directory may vanish, or not yet be readable, while it is being opened.
const RETRIES: u32 = 100;

/// The directory of a store: `table`, and `locks/STORE/XX/ID`, made when a lock is first used.
///
/// Lock files are in a directory with the identity of their store, so that no other store made in the same place ever meets them. None
/// is removed while the store is there: two handles could lock two files of one name.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    mode: Mode,
    /// Whether this call made it.
    made: bool,
}

impl Directory {
    /// The directory that a URL means.
    pub(crate) fn place(url: &StoreUrl) -> Result<PathBuf> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let user = nix::unistd::geteuid();
        let path = place(url, user.is_root(), runtime)?;
        if !user.is_root()
            && !Path::new(url.place()).is_absolute()
            && let Some(runtime) = path.parent()
        {
            runtime::check(url, runtime, user.as_raw())?;
        }
        Ok(path)
    }

    /// Looks whether it is safe to use, and makes it if that is asked for.
    pub(crate) fn open(path: &Path, mode: OpenMode, permissions: Mode) -> Result<Self> {
        let mut directory = Self { path: path.to_owned(), mode: permissions, made: false };
        if mode != OpenMode::Open {
            directory.made = directory.make(path).map_err(|error| Error::refused("mkdir", error).at(path))?;
        }
        directory.check()?;
        Ok(directory)
    }

    pub(crate) fn table(&self) -> PathBuf {
        self.path.join("table")
    }

    /// Where the lock files of a store are.
    pub(crate) fn locks(&self, store: StoreId) -> PathBuf {
        self.path.join("locks").join(store.to_string())
    }

    /// Where the file of a lock is.
    pub(crate) fn path_of(&self, store: StoreId, id: LockId) -> PathBuf {
        self.locks(store).join(format!("{:02x}", id.get() % 256)).join(id.to_string())
    }

    /// Opens a lock's file, which is made if it is not there.
    pub(crate) fn lock_file(&self, table: &Table, id: LockId) -> Result<OwnedFd> {
        let locks = self.locks(table.id());
        let file = self.path_of(table.id(), id);
        let shard = file.parent().unwrap_or(&locks).to_owned();
        let mut retries = 0;
        loop {
            if table.is_destroyed() {
                return Err(ErrorKind::Destroyed.into());
            }
            let errno = match self.open_or_create(&file) {
                Ok(fd) => {
                    // Files are removed after the table has lost its name. If it has it now, this file is the one that all others have.
                    if table.is_destroyed() {
                        let _ = self.remove();
                        return Err(ErrorKind::Destroyed.into());
                    }
                    self.check_file(&fd)?;
                    return Ok(fd);
                }
                Err(errno) => errno,
            };
            retries += 1;
            match errno {
                _ if retries > RETRIES => return Err(Error::refused("open", errno).at(&file)),
                Errno::ENOENT => {
                    for directory in [self.path.join("locks").as_path(), &locks, &shard] {
                        match self.make(directory) {
                            // Removed by somebody who destroys a store: it is looked at again.
                            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                            made => made.map(drop).map_err(|error| Error::refused("mkdir", error).at(directory))?,
                        }
                    }
                }
                Errno::EEXIST => {}
                // Made by another user who is about to open it to us.
                Errno::EACCES if self.is_shared() => std::thread::sleep(Duration::from_millis(1)),
                Errno::ELOOP => return Err(not_ours(format!("{} is a symbolic link", file.display()))),
                errno => return Err(Error::refused("open", errno).at(&file)),
            }
        }
    }

    /// Removes the lock files of stores that are no more, and the directory if nothing else is in it.
    ///
    /// Whoever opens a lock file sees afterwards whether its table has its name still. So when there is no table, nobody will take a
    /// lock by the name of a file that is here by now, but by the files of a store that is yet to come.
    pub(crate) fn remove(&self) -> Result<()> {
        let locks = self.path.join("locks");
        let here = fs::read_dir(&locks).into_iter().flatten().flatten();
        let stores: Vec<_> = here.filter(|entry| is_store_id(&entry.file_name().to_string_lossy())).collect();
        if fs::symlink_metadata(self.table()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            stores.iter().try_for_each(|store| remove_all(&store.path()))?;
        }
        // They stay where another store is being made in the same place.
        let _ = fs::remove_dir(locks);
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }

    /// Takes back the making of a directory in which no store could be made.
    pub(crate) fn forget(&self) {
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Whether others than the owner may use the store.
    fn is_shared(&self) -> bool {
        self.mode != Mode::PRIVATE
    }

    /// Makes a directory; false when it is there already.
    fn make(&self, path: &Path) -> io::Result<bool> {
        // Who may read may also search.
        let bits = self.mode.bits() | (self.mode.bits() & 0o444) >> 2;
        match DirBuilder::new().mode(bits).create(path) {
            Ok(()) if self.is_shared() => fs::set_permissions(path, Permissions::from_mode(bits)).map(|()| true),
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open_or_create(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        if !self.is_shared() {
            return open(path, flags | OFlag::O_CREAT, Bits::from_bits_truncate(self.mode.bits()));
        }
        match open(path, flags, Bits::empty()) {
            Err(Errno::ENOENT) => {
                let fd = open(path, flags | OFlag::O_CREAT | OFlag::O_EXCL, Bits::from_bits_truncate(0o600))?;
                // Not by `open`, whose mode the umask restricts.
                fchmod(fd.as_fd(), Bits::from_bits_truncate(self.mode.bits()))?;
                Ok(fd)
            }
            other => other,
        }
    }

    fn check(&self) -> Result<()> {
        let meta = match fs::symlink_metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::from(ErrorKind::Absent).at(&self.path)),
            Err(error) => return Err(Error::refused("stat", error).at(&self.path)),
        };
        if meta.is_symlink() {
            return Err(not_ours("its directory is a symbolic link"));
        }
        if !meta.is_dir() {
            return Err(ErrorKind::NotAStore { reason: "it is not a directory".to_owned() }.into());
        }
        self.check_owner("its directory", meta.uid(), meta.mode())
    }

    fn check_file(&self, fd: &OwnedFd) -> Result<()> {
        let stat = fstat(fd).map_err(|errno| Error::system("fstat", errno))?;
        if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
            return Err(not_ours("a lock file is not a regular file"));
        }
        if stat.st_nlink > 1 {
            return Err(not_ours(format!("a lock file has {} hard links", stat.st_nlink)));
        }
        self.check_owner("a lock file", stat.st_uid, stat.st_mode)
    }

    /// The rule of [`Table::open`], for what is beside the table.
    fn check_owner(&self, what: &str, owner: u32, mode: u32) -> Result<()> {
        let (us, allowed) = (nix::unistd::geteuid().as_raw(), self.mode.bits() & 0o022);
        if owner != us && allowed == 0 {
            return Err(not_ours(format!(
                "{what} belongs to user {owner}, and this is user {us}; use a store of this user, or share one with mode=0660"
            )));
        }
        if mode & 0o022 & !allowed != 0 {
            let mode = mode & 0o7777;
            return Err(not_ours(format!(
                "others may write to {what} (mode {mode:04o}); chmod it, or open the store with mode=0660"
            )));
        }
        Ok(())
    }
}

/// Whether it looks as a [`StoreId`] prints: what else is there is not ours.
fn is_store_id(name: &str) -> bool {
    name.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Removes a directory to which somebody who does not know yet may be adding.
fn remove_all(path: &Path) -> Result<()> {
    let mut retries = 0;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && retries < RETRIES => retries += 1,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::system("remove", error).at(path)),
            _ => return Ok(()),
        }
    }
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
