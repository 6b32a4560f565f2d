use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lock_core::{Error, LockId, OpenMode, Result, StoreId};
use lock_table::FileOwner;
use lock_table::{create_complete, filesystem, hash};
use nix::unistd::geteuid;

use crate::held::{FileKey, Key};
use crate::image;
use crate::layout::{DEFAULT_LOCKS, GROUP_LOCKS, HEADER};
use crate::location::user_of;
use crate::options::SegmentOptions;
use crate::sys::Mapping;

/// The mode bits that let other users write.
const OTHERS_WRITE: u32 = 0o022;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    key: FileKey,
    id: StoreId,
    locks: u32,
    pub(crate) mapping: Mapping,
}

impl Segment {
    /// Opens or creates the segment in the file with this path.
    ///
    /// # Errors
    /// As [`Store::with_backend`](lock_core::Store::with_backend).
    pub(crate) fn open(path: &Path, mode: OpenMode, options: &SegmentOptions) -> Result<Self> {
        loop {
            if mode != OpenMode::Create {
                match Self::open_existing(path, options) {
                    Err(error) if error.is_absent() && mode == OpenMode::OpenOrCreate => {}
                    Err(error) => return Err(filesystem::advise_on_absent(error, path).at(path)),
                    opened => return opened,
                }
            }
            match Self::create(path, options) {
                Err(error) if error.already_exists() && mode == OpenMode::OpenOrCreate => {}
                Err(error) => return Err(error.at(path)),
                Ok(()) if mode == OpenMode::OpenOrCreate => {}
                Ok(()) => return Self::open_existing(path, options).map_err(|error| error.at(path)),
            }
        }
    }

    fn create(path: &Path, options: &SegmentOptions) -> Result<()> {
        if cfg!(not(target_env = "gnu")) {
            return Err(Error::unsupported("only a program with the C library glibc can create a segment"));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A missing directory is an error of the creation.
        if directory.exists() {
            filesystem::check_path(directory, options.filesystem)?;
        }
        create_complete(path, &image::new(options.locks.unwrap_or(DEFAULT_LOCKS))).map(drop)
    }

    fn open_existing(path: &Path, options: &SegmentOptions) -> Result<Self> {
        let mut file = open_file(path, true)?;
        let metadata = file.metadata().map_err(|error| Error::system("fstat", error))?;
        check_access(path, &metadata, options.owner)?;
        filesystem::check(&file, path, options.filesystem)?;
        let mut header = [0; HEADER];
        let read = read_at(&file, &mut header, 0)?;
        // Before the whole is read: the file may be another one, of any length.
        image::check_header(&header[..read], metadata.len())?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| Error::system("read", error))?;
        let locks = image::check(&bytes)?;
        if let Some(asked) = options.locks.filter(|asked| *asked != locks) {
            return Err(
                Error::other_capacity(locks.to_string(), asked.to_string()).advise("omit the option locks or give that number")
            );
        }
        let mapping = Mapping::new(&file, locks / GROUP_LOCKS).map_err(|error| Error::system("mmap", error))?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { path, key: FileKey::of(&metadata), id: identity(&metadata), locks, mapping })
    }

    /// Returns the identity of the segment.
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of locks.
    pub(crate) fn locks(&self) -> u32 {
        self.locks
    }

    /// Returns the number of groups.
    pub(crate) fn groups(&self) -> u32 {
        self.locks / GROUP_LOCKS
    }

    /// Returns the key of a lock, or of the segment mutex.
    pub(crate) fn key(&self, lock: Option<u32>) -> Key {
        Key { file: self.key, lock }
    }

    /// Checks that the id is less than the number of locks.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange).
    pub(crate) fn check_range(&self, id: LockId) -> Result<()> {
        if id.get() < self.locks { Ok(()) } else { Err(Error::out_of_range(u64::from(self.locks))) }
    }

    /// Opens the file for reading, and checks that the path leads to this segment and that its header is intact.
    ///
    /// What only reads uses the file and not the mapping: an access to a mapping raises a SIGBUS when another program has cut the file.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](lock_core::ErrorKind::Destroyed), [`ErrorKind::Replaced`](lock_core::ErrorKind::Replaced),
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt), [`ErrorKind::NotAStore`](lock_core::ErrorKind::NotAStore).
    pub(crate) fn reopen(&self) -> Result<File> {
        let file = open_file(&self.path, false).map_err(|error| match error.is_absent() {
            true => Error::destroyed(),
            false => error.at(&self.path),
        })?;
        let metadata = file.metadata().map_err(|error| Error::system("fstat", error))?;
        if FileKey::of(&metadata) != self.key {
            return Err(Error::replaced());
        }
        if metadata.nlink() == 0 {
            return Err(Error::destroyed());
        }
        let mut header = [0; HEADER];
        let read = read_at(&file, &mut header, 0)?;
        let locks = image::check_header(&header[..read], metadata.len())?;
        if locks != self.locks {
            return Err(Error::corrupt(format!("its number of locks changed from {} to {locks}", self.locks)));
        }
        Ok(file)
    }

    /// Checks that the path leads to this segment and that its header is intact.
    ///
    /// # Errors
    /// As [`Segment::reopen`].
    pub(crate) fn check(&self) -> Result<()> {
        self.reopen().map(drop)
    }
}

/// Opens a segment's file.
fn open_file(path: &Path, for_writing: bool) -> Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    match File::options().read(true).write(for_writing).custom_flags(flags).open(path) {
        Ok(file) => Ok(file),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENOENT) => Error::absent(),
            Some(libc::ELOOP) => untrusted(path, "is a symbolic link", "use the path of its target, or remove it"),
            Some(libc::EISDIR | libc::ENXIO) => not_regular(path),
            _ => Error::system("open", error),
        }),
    }
}

/// Checks the type, the links, the owner and the mode of a segment's file.
///
/// Trusted owners are the caller, root and, for root, the user whose segment has the file's name. `owner` is one more.
fn check_access(path: &Path, found: &Metadata, owner: Option<FileOwner>) -> Result<()> {
    if !found.is_file() {
        return Err(not_regular(path));
    }
    match found.nlink() {
        0 => return Err(Error::absent()),
        1 => {}
        links => {
            return Err(untrusted(
                path,
                &format!("has {links} hard links"),
                "remove the others, or the file when no podman runs",
            ));
        }
    }
    let (uid, me) = (found.uid(), geteuid().as_raw());
    let is_trusted = match owner {
        Some(FileOwner::Any) => true,
        Some(FileOwner::User(owner)) if owner == uid => true,
        _ => uid == 0 || uid == me || me == 0 && user_of(path) == Some(uid),
    };
    if !is_trusted {
        let found = format!("belongs to user {uid}, not to user {me} or root");
        let advice = format!("if it was planted, remove it as root when no podman runs; if you trust that user, add owner={uid}");
        return Err(untrusted(path, &found, &advice));
    }
    let mode = found.mode() & 0o777;
    if mode & OTHERS_WRITE != 0 {
        let found = format!("is writable for other users (mode {mode:04o})");
        return Err(untrusted(path, &found, "set its mode to 0600, which podman gives it"));
    }
    Ok(())
}

fn not_regular(path: &Path) -> Error {
    untrusted(path, "is not a regular file", "remove it when no podman runs")
}

fn untrusted(path: &Path, found: &str, advice: &str) -> Error {
    Error::untrusted(format!("{} {found}; {advice}", path.display()))
}

/// Reads as many bytes as the file has, at most the length of the buffer.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system("read", error)),
        }
    }
    Ok(read)
}

/// Returns a hash of the device, the inode and the time of creation of a file or a directory.
pub(crate) fn identity(metadata: &Metadata) -> StoreId {
    // Not all file systems record the time.
    let created = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let facts = [metadata.dev(), metadata.ino(), created.as_secs(), u64::from(created.subsec_nanos())];
    let half = |salt: u64| u128::from(hash::fnv1a(facts.iter().chain(&[salt]).flat_map(|fact| fact.to_le_bytes())));
    StoreId::new(half(0) << 64 | half(1))
}
