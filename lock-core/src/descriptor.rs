//! Descriptors that this crate and its backends keep in somebody else's program.
//!
//! A program may close any number that it did not open: `closefrom(3)`, a daemon's loop over all numbers, a language runtime. A kept
//! number may then mean a file of the program's. So a number is compared with the file that it must be before it is used or closed.
//!
//! Calls that lock need no comparison: the description's file offset is set to a *mark*, and the range to lock is given relative
//! to that offset. On any other description the range begins below 0, and the kernel refuses with EINVAL.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use crate::sys::{DescriptionKeeper, SetOnce, close_if};
use crate::{Error, Result, fork, sys};

/// Numbers below are the program's standard streams, or will be.
const LOWEST: RawFd = 3;

/// Offsets that no file of a program's is read at, the highest first: file systems have different largest offsets.
const MARKS: [i64; 3] = [0x3a5a_0f17_6c4b_0000, 0x0b5a_0f17_6000, 0x03e7_5a0f_1000];

/// A descriptor that is never used or closed after the program closed its number.
#[derive(Debug)]
pub struct Descriptor {
    /// In a forked child, or after the program closed it, a number that means nothing or something else.
    fd: ManuallyDrop<OwnedFd>,
    file: FileId,
    mark: i64,
    epoch: u64,
    /// `None` where forked children share it.
    registration: Option<&'static Registration>,
}

/// What tells a file from all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        let stat = fstat(fd)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

impl Descriptor {
    /// Takes charge of a descriptor that forked children close. It gets a number above the standard streams'.
    ///
    /// Opening and registering are two steps; see [`fork::undisturbed`].
    ///
    /// # Errors
    /// Where no number is left; what the system says.
    pub fn new(fd: impl Into<OwnedFd>) -> Result<Self> {
        Self::with(fd.into(), true)
    }

    /// The same for a descriptor that forked children share: no lock may be on it.
    ///
    /// # Errors
    /// As [`Descriptor::new`].
    pub fn shared(fd: impl Into<OwnedFd>) -> Result<Self> {
        Self::with(fd.into(), false)
    }

    fn with(fd: OwnedFd, of_one_process: bool) -> Result<Self> {
        let epoch = fork::current();
        let fd = above_standard_streams(fd)?;
        let file = FileId::of(&fd).map_err(|errno| Error::system("fstat", errno))?;
        let registration = of_one_process.then(|| Registration::new(fd.as_raw_fd(), file, epoch));
        Ok(Self { fd: ManuallyDrop::new(fd), file, mark: 0, epoch, registration })
    }

    /// Sets the description's file offset to the mark, so that [`Descriptor::range`] can be used.
    ///
    /// # Errors
    /// Where the file system has no such offsets.
    pub fn marked(mut self) -> Result<Self> {
        let mark = MARKS.into_iter().find(|mark| lseek(&*self.fd, *mark, Whence::SeekSet) == Ok(*mark));
        self.mark =
            mark.ok_or_else(|| Error::unsupported("the file system has no offsets beyond 4 TB; use tmpfs, ext4, xfs or btrfs"))?;
        Ok(self)
    }

    /// The descriptor, compared with the file that it must be. `None` when the program closed it, and in a forked child if it was
    /// its parent's alone.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        self.unverified().filter(|fd| FileId::of(fd) == Ok(self.file))
    }

    /// The number, as it was given; the program may have closed it.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The descriptor as a number that the program may have closed: for calls with [`Descriptor::range`], which notice that by
    /// themselves. `None` in a forked child if it was its parent's alone.
    #[inline]
    pub fn unverified(&self) -> Option<BorrowedFd<'_>> {
        (self.registration.is_none() || self.epoch == fork::epoch()).then(|| self.fd.as_fd())
    }

    /// A range of the marked file, for `fcntl` locks: the call fails with EINVAL or EBADF when the number is another file's.
    /// A length of 0 means to the end of the file, however large it grows.
    #[inline]
    pub fn range(&self, kind: libc::c_int, start: i64, length: i64) -> libc::flock {
        debug_assert_ne!(self.mark, 0, "only the file of a marked descriptor has ranges");
        libc::flock { l_type: kind as _, l_whence: libc::SEEK_CUR as _, l_start: start - self.mark, l_len: length, l_pid: 0 }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.get().is_some() {
            if let Some(registration) = self.registration {
                registration.clear();
            }
            let _ = nix::unistd::close(self.fd.as_raw_fd());
        } else if let Some(registration) = self.registration
            && self.epoch == fork::epoch()
        {
            registration.clear();
        }
    }
}

/// Tags a descriptor of a kind that has no inode of its own, such as an inotify instance, so that [`is_tagged`] can tell it from others.
///
/// The tag is the signal that would be sent if the descriptor were asynchronous (`F_SETSIG`), which it must not be.
///
/// # Errors
/// What the system says.
pub fn tag(fd: impl AsFd) -> Result<()> {
    sys::set_signal(fd.as_fd(), TAG).map_err(|errno| Error::system("fcntl F_SETSIG", errno))
}

/// Whether the number is still that of a tagged descriptor: the program has not closed it and opened something else.
pub fn is_tagged(fd: impl AsFd) -> bool {
    sys::signal(fd.as_fd()) == Ok(TAG)
}

/// The last real-time signal but three: programs that use `F_SETSIG` begin with the first.
const TAG: libc::c_int = 61;

/// An open file description that is kept with its locks whatever the program closes: by a mapping, which forked children do not
/// inherit, or on overlayfs, where that does not keep locks, by the descriptor.
#[derive(Debug)]
pub struct KeptDescription {
    /// `None` once the mapping alone keeps it.
    descriptor: Option<Descriptor>,
    mapping: Option<DescriptionKeeper>,
}

impl KeptDescription {
    /// Keeps the description that `open` makes. Its descriptor is [marked](Descriptor::marked).
    ///
    /// It must have no lock yet: a child that another thread forks meanwhile may inherit the description, which is not used then.
    ///
    /// # Errors
    /// Those of `open` and of [`Descriptor`].
    pub fn new(mut open: impl FnMut() -> Result<OwnedFd>) -> Result<Self> {
        fork::undisturbed(|| {
            let descriptor = Descriptor::new(open()?)?.marked()?;
            let mapping = descriptor.get().filter(|fd| keeps_locks(fd)).and_then(|fd| DescriptionKeeper::new(fd).ok());
            Ok(Self { descriptor: Some(descriptor), mapping })
        })
    }

    /// The descriptor, to lock the file; `None` once it is closed.
    pub fn descriptor(&self) -> Option<&Descriptor> {
        self.descriptor.as_ref()
    }

    /// Closes the descriptor, if the mapping keeps the description.
    pub fn close(&mut self) {
        if self.has_mapping() {
            self.descriptor = None;
        }
    }

    /// Whether a mapping keeps the description.
    pub(crate) fn has_mapping(&self) -> bool {
        self.mapping.as_ref().is_some_and(DescriptionKeeper::is_of_this_process)
    }

    /// Whether the description is still there: not in a forked child, nor where the program closed the descriptor that alone kept it.
    pub fn is_kept(&self) -> bool {
        self.has_mapping() || self.descriptor.as_ref().is_some_and(|descriptor| descriptor.get().is_some())
    }
}

/// Whether a mapping of the file keeps an open file description alive with its locks.
pub(crate) fn keeps_locks(fd: impl AsFd) -> bool {
    fstatfs(fd).is_ok_and(|fs| fs.filesystem_type() != OVERLAYFS_SUPER_MAGIC)
}

fn above_standard_streams(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST {
        return Ok(fd);
    }
    // The standard library's copy of a descriptor never has one of these numbers.
    fd.try_clone().map_err(|error| Error::refused("fcntl F_DUPFD_CLOEXEC", error))
}

/// An entry in the list of descriptors that forked children close. Entries are used again, and never freed, so that a child
/// can read the list whatever its parent's other threads were doing.
#[derive(Debug)]
struct Registration {
    /// [`FREE`], [`RESERVED`], or the number plus 2.
    number: AtomicU64,
    epoch: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

const FREE: u64 = 0;
const RESERVED: u64 = 1;

const IN_A_CHUNK: usize = 64;

struct Chunk {
    entries: [Registration; IN_A_CHUNK],
    next: SetOnce<Self>,
}

static REGISTRATIONS: Chunk = Chunk::new();

impl Chunk {
    const fn new() -> Self {
        Self { entries: [const { Registration::empty() }; IN_A_CHUNK], next: SetOnce::new() }
    }
}

impl Registration {
    const fn empty() -> Self {
        Self { number: AtomicU64::new(FREE), epoch: AtomicU64::new(0), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    fn new(number: RawFd, file: FileId, epoch: u64) -> &'static Self {
        let entry = Self::reserve();
        entry.epoch.store(epoch, Relaxed);
        entry.device.store(file.device, Relaxed);
        entry.inode.store(file.inode, Relaxed);
        entry.number.store(u64::from(number.unsigned_abs()) + 2, Release);
        entry
    }

    fn reserve() -> &'static Self {
        let mut chunk = &REGISTRATIONS;
        loop {
            let free = |entry: &&Self| {
                entry.number.load(Relaxed) == FREE && entry.number.compare_exchange(FREE, RESERVED, SeqCst, Relaxed).is_ok()
            };
            if let Some(entry) = chunk.entries.iter().find(free) {
                return entry;
            }
            chunk = match chunk.next.get() {
                Some(next) => next,
                None => chunk.next.set(Chunk::new()),
            };
        }
    }

    fn clear(&self) {
        self.number.store(FREE, Release);
    }
}

/// Closes the descriptors of this process's parent, in a process that has just got this epoch.
pub(crate) fn close_inherited(epoch: u64) {
    let mut chunk = Some(&REGISTRATIONS);
    while let Some(Chunk { entries, next }) = chunk {
        for entry in entries.iter().filter(|entry| entry.epoch.load(Relaxed) != epoch) {
            let Some(number) = entry.number.load(Acquire).checked_sub(2) else { continue };
            let file = FileId { device: entry.device.load(Relaxed), inode: entry.inode.load(Relaxed) };
            close_if(number as RawFd, file);
            entry.clear();
        }
        chunk = next.get();
    }
}
