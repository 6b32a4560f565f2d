//! The missing directories in the path of a new store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode as Permissions, SFlag, fstatat, mkdirat};
use nix::unistd::geteuid;

use crate::file_access::FileOwner;
use crate::filesystem;
use crate::options::TableOptions;
use lock_core::{Error, OpenMode, Result, StoreUrl};

/// Mount points that only the system creates.
const OF_THE_SYSTEM: [&str; 2] = ["/dev", "/dev/shm"];

const PATH: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Opens or creates a store, and creates the missing directories in its path if it is to be created.
///
/// The directories are for the caller alone (mode 0700). `open` opens or creates the store. It is called again if directories were
/// missing and have been created, so an existing store costs the same as one `open`.
///
/// No directory is created in these cases, in which the error of `open` names the missing one:
/// - The location is a name, whose directory belongs to the system or to a login session.
/// - The mode or the owner of the store lets other users use it. The access that they need to the directories is unknown.
/// - The missing directory is `/dev` or `/dev/shm`.
///
/// Symbolic links in the existing part of the path are followed. A directory that another process creates at the same time is used, but
/// a symbolic link is refused.
///
/// # Errors
/// The errors of `open`; [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) when the file system is shared with other machines;
/// [`ErrorKind::System`](lock_core::ErrorKind::System) or [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when a directory cannot be
/// created.
pub fn with_parents<T>(url: &StoreUrl, mode: OpenMode, options: &TableOptions, mut open: impl FnMut() -> Result<T>) -> Result<T> {
    match open() {
        Err(_) if create_parents(url, mode, options)? => open(),
        opened => opened,
    }
}

/// Creates the missing directories of a store that is to be created. Returns false if none is missing or none may be created.
fn create_parents(url: &StoreUrl, mode: OpenMode, options: &TableOptions) -> Result<bool> {
    let location = url.location();
    let Some(parent) = location.parent().filter(|_| location.is_absolute() && mode != OpenMode::Open) else { return Ok(false) };
    let is_missing = || openat(AT_FDCWD, parent, PATH, Permissions::empty()).err() == Some(Errno::ENOENT);
    if !options.is_private() || !is_missing() {
        return Ok(false);
    }
    let Some((existing, directory)) = nearest(parent) else { return Ok(false) };
    let missing = parent.strip_prefix(existing).unwrap_or(parent);
    let first = missing.components().next().map(|first| existing.join(first));
    if first.is_some_and(|first| OF_THE_SYSTEM.iter().any(|directory| first == Path::new(directory))) {
        return Ok(false);
    }
    filesystem::check_directory(existing, location, options.filesystem)?;
    create_below(directory, missing).map_err(|(call, errno)| Error::system(call, errno).at(parent))?;
    Ok(true)
}

impl TableOptions {
    /// Returns true if only the caller can use a new store with these options.
    fn is_private(&self) -> bool {
        let is_own = !matches!(self.owner, Some(FileOwner::User(uid)) if uid != geteuid().as_raw());
        is_own && self.permissions().bits() & 0o077 == 0
    }
}

/// Opens the nearest ancestor of a directory that exists.
fn nearest(directory: &Path) -> Option<(&Path, OwnedFd)> {
    directory
        .ancestors()
        .skip(1)
        .find_map(|ancestor| Some((ancestor, openat(AT_FDCWD, ancestor, PATH, Permissions::empty()).ok()?)))
}

/// Creates directories, each in the one before it. Returns the failed system call with its error.
fn create_below(mut at: OwnedFd, missing: &Path) -> Result<(), (&'static str, Errno)> {
    for part in missing.components() {
        match part {
            Component::CurDir => {}
            // The directory before it was created, so that no link precedes the `..`.
            Component::ParentDir => at = openat(&at, "..", PATH, Permissions::empty()).map_err(|errno| ("open", errno))?,
            part => at = create_one(at.as_fd(), Path::new(part.as_os_str()))?,
        }
    }
    Ok(())
}

fn create_one(parent: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, (&'static str, Errno)> {
    match mkdirat(parent, name, Permissions::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(("mkdir", errno)),
    }
    match openat(parent, name, PATH | OFlag::O_NOFOLLOW, Permissions::empty()) {
        // With O_DIRECTORY the kernel reports a symbolic link as a file that is not a directory.
        Err(Errno::ENOTDIR) if is_link(parent, name) => Err(("open", Errno::ELOOP)),
        opened => opened.map_err(|errno| ("open", errno)),
    }
}

fn is_link(parent: BorrowedFd<'_>, name: &Path) -> bool {
    let status = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    status.is_ok_and(|status| SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn create(path: &Path, mode: OpenMode, options: &TableOptions) -> Result<bool> {
        create_parents(&StoreUrl::builder("shm").path(path).build()?, mode, options)
    }

    fn private() -> TableOptions {
        TableOptions::default()
    }

    #[test]
    fn missing_directories_are_created_for_the_caller_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/./b/../c/store");
        create(&path, OpenMode::OpenOrCreate, &private()).unwrap();
        create(&path, OpenMode::Create, &private()).unwrap();
        for directory in ["a", "a/b", "a/c"] {
            let mode = fs::metadata(scratch.path().join(directory)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{directory}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn an_opening_and_a_store_of_several_users_create_no_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/store");
        create(&path, OpenMode::Open, &private()).unwrap();
        create(&path, OpenMode::Create, &TableOptions { mode: Some("0660".parse().unwrap()), ..private() }).unwrap();
        let stranger = Some(FileOwner::User(geteuid().as_raw() + 1));
        create(&path, OpenMode::Create, &TableOptions { owner: stranger, ..private() }).unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dangling_link_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        symlink(scratch.path().join("elsewhere"), scratch.path().join("link")).unwrap();
        let error = create(&scratch.path().join("link/store"), OpenMode::Create, &private()).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(!scratch.path().join("elsewhere").exists());
    }

    #[test]
    fn a_link_in_the_existing_part_of_the_path_is_followed() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("real")).unwrap();
        symlink("real", scratch.path().join("link")).unwrap();
        create(&scratch.path().join("link/new/store"), OpenMode::Create, &private()).unwrap();
        assert!(scratch.path().join("real/new").is_dir());
    }
}
