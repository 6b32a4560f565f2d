//! Creation of a table's file, and its validation at each opening.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode as Permissions, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use crate::blocks::{back, check_limit};
use crate::filesystem;
use crate::header::{self, Header, corrupt};
use crate::kind::Kind;
use crate::layout::{self, BASE_BYTES, Geometry, PAGE};
use crate::options::{STICKY, TableOptions};
use crate::sys::{self, rename_new};
use crate::table_path::TablePath;
use lock_core::{Error, ErrorDetails, Result};

/// Opens the file of a table and validates it. The file is not changed. Returns it with its header and its status.
pub(crate) fn open_existing(path: &TablePath<'_>, kind: Kind, options: &TableOptions) -> Result<(File, Header, FileStat)> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut file = match openat(path.base, path.name, flags, Permissions::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT) => return Err(Error::absent()),
        Err(Errno::ELOOP) => return Err(untrusted("the path is a symbolic link; use the path of its target")),
        Err(Errno::EISDIR) => return Err(Error::not_a_store("the path is a directory")),
        Err(errno) => return Err(Error::system("open", errno)),
    };
    let meta = file.metadata().map_err(|e| Error::system("fstat", e))?;
    if !meta.is_file() {
        return Err(Error::not_a_store("the path is not a regular file"));
    }
    let filesystem = filesystem::check_file(&file, path.whole, options.filesystem)?;
    match meta.nlink() {
        0 => return Err(deleted(path.whole, &meta)),
        1 => {}
        links => return Err(untrusted(format!("the file has {links} hard links; remove the others"))),
    }
    options.check_access(path.whole, (&meta).into(), || path.directory_of(&meta))?;
    let mut page = Vec::with_capacity(PAGE as usize);
    (&mut file).take(PAGE).read_to_end(&mut page).map_err(|e| Error::system("read", e))?;
    let header = Header::decode(&page, kind, path.whole)?;
    // Read the length after the directory of segments. Another process may extend the file, and does so before it adds a segment to the
    // directory.
    let stat = fstat(&file).map_err(|e| Error::system("fstat", e))?;
    check_length(stat.st_size.unsigned_abs(), header::segments(&page))?;
    header::present_bound(&page, &header).check_asked(header.bound, options.bound)?;
    filesystem::unshare(filesystem, &file)?;
    Ok((file, header, stat))
}

/// Checks that the file is long enough for the segments of its directory.
pub(crate) fn check_length(bytes: u64, segments: u64) -> Result<()> {
    let last = segments.checked_ilog2().unwrap_or(0) as usize;
    check_end(bytes, Geometry::of(last).end())
}

/// Checks that the file has at least `expected` bytes.
pub(crate) fn check_end(bytes: u64, expected: u64) -> Result<()> {
    if bytes < expected {
        return Err(corrupt(format!("the file is truncated: it has {bytes} bytes instead of at least {expected}")));
    }
    Ok(())
}

/// Creates the file of a table.
///
/// The file is complete when it becomes visible, and has blocks for the process entry of the creator. When the process is killed during
/// the call, there is either no file or a valid store.
pub(crate) fn create_new(path: &TablePath<'_>, header: &Header, options: &TableOptions) -> Result<File> {
    // Check before a temporary file is created. Some file systems keep a removed file for a moment.
    filesystem::check_directory(path.directory(), path.whole, options.filesystem)?;
    create_filled(path, |file| {
        filesystem::keep_room(&*file, path.whole, options.filesystem)?;
        fill(file, header, options)
    })
}

/// Creates a file with these bytes and the mode 0600. It is complete, and has its blocks, when it becomes visible.
///
/// The file also has the sticky bit, which keeps programs from removing it as unused.
///
/// # Errors
/// [`ErrorKind::Exists`](lock_core::ErrorKind::Exists), [`ErrorKind::Limit`](lock_core::ErrorKind::Limit),
/// [`ErrorKind::System`](lock_core::ErrorKind::System).
pub fn create_complete(path: &Path, bytes: &[u8]) -> Result<File> {
    create_filled(&TablePath::whole(path), |file| {
        back(&*file, 0, bytes.len() as u64)?;
        file.write_all(bytes).map_err(|e| Error::system("write", e))?;
        fchmod(file.as_fd(), Permissions::from_bits_truncate(0o600 | STICKY)).map_err(|e| Error::system("fchmod", e))
    })
}

/// Creates a file that `fill` completes before it becomes visible.
fn create_filled(path: &TablePath<'_>, fill: impl Fn(&mut File) -> Result<()>) -> Result<File> {
    match make(unnamed(path)?, &fill, path) {
        // Linking a file without a name requires `/proc` or a capability (open(2), O_TMPFILE).
        Err(error) if is_absent(&error) && !Path::new("/proc/self/fd").exists() => make(temporarily_named(path)?, &fill, path),
        made => made,
    }
}

fn make(
    (mut file, temporary): (File, Option<PathBuf>),
    fill: &impl Fn(&mut File) -> Result<()>,
    path: &TablePath<'_>,
) -> Result<File> {
    let made = fill(&mut file).and_then(|()| publish(&file, temporary.as_deref(), path));
    if let (Err(_), Some(temporary)) = (&made, &temporary) {
        let _ = unlinkat(path.base, temporary, UnlinkatFlags::NoRemoveDir);
    }
    made.map(|()| file)
}

fn is_absent(error: &Error) -> bool {
    matches!(error.details(), ErrorDetails::System { error, .. } if error.kind() == io::ErrorKind::NotFound)
}

/// Creates a file without a name (O_TMPFILE), or with a random name if that is not supported.
fn unnamed(path: &TablePath<'_>) -> Result<(File, Option<PathBuf>)> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    match openat(path.base, path.parent(), flags | OFlag::O_TMPFILE, Permissions::S_IRUSR | Permissions::S_IWUSR) {
        Ok(fd) => Ok((fd.into(), None)),
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => temporarily_named(path),
        Err(errno) => Err(in_directory(errno)),
    }
}

/// Creates a file with a random name.
fn temporarily_named(path: &TablePath<'_>) -> Result<(File, Option<PathBuf>)> {
    let name = path.name.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.parent().join(format!(".{name}.{:032x}", random()?));
    let create = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let fd = openat(path.base, &temporary, create, Permissions::S_IRUSR | Permissions::S_IWUSR).map_err(in_directory)?;
    Ok((fd.into(), Some(temporary)))
}

/// Writes the header, and reserves the blocks that the creator and the backend need.
fn fill(file: &mut File, header: &Header, options: &TableOptions) -> Result<()> {
    let first = Geometry::of(0);
    check_limit(&*file, first.end())?;
    // No other process has the file yet, so setting its length cannot remove a segment.
    file.set_len(first.end()).map_err(|e| Error::system("ftruncate", e))?;
    back(&*file, 0, PAGE)?;
    // The process entry of the creator. A store without space for it must not become visible.
    back(&*file, layout::entry_page(0), PAGE)?;
    // The bitmaps and the first group of locks. Backends use fields of the first lines from the beginning.
    back(&*file, first.offset, first.bitmap_bytes() + first.group_bytes())?;
    debug_assert_eq!(first.offset, BASE_BYTES);
    file.write_all(&header.encode()).map_err(|e| Error::system("write", e))?;
    options.give(file.as_fd())?;
    fchmod(file.as_fd(), Permissions::from_bits_truncate(options.permissions().bits() | STICKY))
        .map_err(|e| Error::system("fchmod", e))?;
    file.sync_all().map_err(|e| Error::system("fsync", e))
}

/// Links the file to its name, if the name does not exist.
fn publish(file: &File, temporary: Option<&Path>, path: &TablePath<'_>) -> Result<()> {
    let named = match temporary {
        None => {
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(AT_FDCWD, link.as_str(), path.base, path.name, AtFlags::AT_SYMLINK_FOLLOW).map_err(Into::into)
        }
        Some(temporary) => rename_new(path.base, temporary, path.name),
    };
    match named {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path.whole)),
        Err(error) => Err(Error::system("link", error)),
    }
}

/// Returns a random number from the kernel.
pub(crate) fn random() -> Result<u128> {
    let mut bytes = [0; 16];
    sys::random(&mut bytes).map_err(|errno| Error::system("getrandom", errno))?;
    Ok(u128::from_ne_bytes(bytes))
}

fn in_directory(errno: Errno) -> Error {
    Error::system("create", errno)
}

/// The error for an opened file without links: the store was destroyed, or a bind mount keeps its name.
fn deleted(path: &Path, file: &Metadata) -> Error {
    let is_mounted = fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (file.dev(), file.ino()));
    if is_mounted { kept_by_mount(path) } else { Error::absent() }
}

/// The error for an existing file: it is a store, or a bind mount keeps the name of a deleted one.
fn exists(path: &Path) -> Error {
    let is_deleted = fs::symlink_metadata(path).is_ok_and(|named| named.nlink() == 0);
    if is_deleted { kept_by_mount(path) } else { Error::exists() }
}

fn kept_by_mount(path: &Path) -> Error {
    untrusted(format!("the file was deleted, and a bind mount keeps its name {}; unmount it", path.display()))
}

fn untrusted(reason: impl Into<String>) -> Error {
    Error::untrusted(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::ErrorKind;

    #[test]
    fn publish_does_not_replace_an_existing_file() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second, path] = ["first", "second", "store"].map(|name| directory.path().join(name));
        for file in [&first, &second] {
            fs::write(file, file.as_os_str().as_encoded_bytes()).unwrap();
        }
        let file = File::open(&first).unwrap();
        publish(&file, Some(&first), &TablePath::whole(&path)).unwrap();
        let error = publish(&file, Some(&second), &TablePath::whole(&path)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Exists), "{error}");
        assert!(second.exists() && !first.exists());
        assert_eq!(fs::read(&path).unwrap(), first.as_os_str().as_encoded_bytes());
    }
}
