//! Descriptors that a library keeps open in a program that may close them.
//!
//! A program may close descriptors that it did not open, with `closefrom(3)` or a loop over all numbers. The number of a kept descriptor
//! may then refer to a file of the program. Therefore a number is compared with its file before it is used or closed.
//!
//! Calls that lock need no comparison. The file offset of the description is set to a *mark*, and the range to lock is relative to that
//! offset. On any other description the range starts below 0, and the kernel returns EINVAL.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use once_cell::race::OnceBox;

use crate::file_id::FileId;
use crate::sys::{DescriptionMapping, close_if};
use crate::{fork, sys};
use lock_core::__private::fork::{begun_while_forking, on_child};
use lock_core::{Error, Result};

/// The lowest number for a kept descriptor. Lower numbers are for the standard streams of the program.
const LOWEST: RawFd = 3;

/// Offsets at which a program does not read a file, in descending order. File systems have different maximum offsets.
const MARKS: [i64; 3] = [0x3a5a_0f17_6c4b_0000, 0x0b5a_0f17_6000, 0x03e7_5a0f_1000];

/// A descriptor that is neither used nor closed after the program has closed its number.
#[derive(Debug)]
pub struct Descriptor {
    /// The number. In a forked child, or after the program has closed it, it may be unused or refer to another file.
    fd: ManuallyDrop<OwnedFd>,
    file: FileId,
    mark: i64,
    epoch: u64,
    /// `None` if forked children share the descriptor.
    registration: Option<&'static Registration>,
}

impl Descriptor {
    /// Registers a descriptor that forked children close.
    ///
    /// Its number is above those of the standard streams.
    ///
    /// A fork between opening the descriptor and this call lets the child keep it; see [`fork::retry_across_forks`].
    ///
    /// # Errors
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when no number is free; [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn new(fd: impl Into<OwnedFd>) -> Result<Self> {
        Self::of_process(fd.into(), None)
    }

    /// Registers a descriptor as [`Descriptor::new`] does. `file` is its identity, if the caller knows it.
    fn of_process(fd: OwnedFd, file: Option<FileId>) -> Result<Self> {
        let mut descriptor = Self::with(fd, file)?;
        descriptor.registration = Some(Registration::new(descriptor.number(), descriptor.file, descriptor.epoch));
        Ok(descriptor)
    }

    /// Keeps a descriptor that forked children share. No file lock may be on its description.
    ///
    /// # Errors
    /// As [`Descriptor::new`].
    pub fn shared(fd: impl Into<OwnedFd>) -> Result<Self> {
        Self::with(fd.into(), None)
    }

    /// Keeps a descriptor of this file as [`Descriptor::shared`] does.
    pub(crate) fn shared_with(fd: impl Into<OwnedFd>, file: FileId) -> Result<Self> {
        Self::with(fd.into(), Some(file))
    }

    fn with(fd: OwnedFd, file: Option<FileId>) -> Result<Self> {
        let epoch = fork::current();
        let fd = above_standard_streams(fd)?;
        let file = file.map_or_else(|| FileId::of(&fd), Ok).map_err(|errno| Error::system("fstat", errno))?;
        Ok(Self { fd: ManuallyDrop::new(fd), file, mark: 0, epoch, registration: None })
    }

    /// Sets the file offset of the description to the mark, which [`Descriptor::range`] requires.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) when the file system has no such offsets.
    pub fn marked(mut self) -> Result<Self> {
        let mark = MARKS.into_iter().find(|mark| lseek(&*self.fd, *mark, Whence::SeekSet) == Ok(*mark));
        self.mark =
            mark.ok_or_else(|| Error::unsupported("the file system has no offsets beyond 4 TB; use tmpfs, ext4, xfs or btrfs"))?;
        Ok(self)
    }

    /// Returns the descriptor after comparing it with its file.
    ///
    /// Returns `None` if the program has closed it, and in a forked child that does not share it.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        self.unverified().filter(|fd| FileId::of(fd) == Ok(self.file))
    }

    /// Returns the number, which the program may have closed.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Returns the descriptor without comparing it with its file, for calls with [`Descriptor::range`].
    ///
    /// Returns `None` in a forked child that does not share the descriptor.
    #[inline]
    pub fn unverified(&self) -> Option<BorrowedFd<'_>> {
        (self.registration.is_none() || self.epoch == fork::epoch()).then(|| self.fd.as_fd())
    }

    /// Returns a range of the marked file for `fcntl` locks, in bytes.
    ///
    /// A length of 0 means to the end of the file.
    ///
    /// A call with the range fails with EINVAL or EBADF if the program has closed the number.
    #[inline]
    pub fn range(&self, kind: libc::c_int, start: i64, length: i64) -> libc::flock {
        debug_assert_ne!(self.mark, 0, "a range requires a marked descriptor");
        libc::flock { l_type: kind as _, l_whence: libc::SEEK_CUR as _, l_start: start - self.mark, l_len: length, l_pid: 0 }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.get().is_some() {
            let _ = nix::unistd::close(self.fd.as_raw_fd());
        }
        if let Some(registration) = self.registration
            && self.epoch == fork::epoch()
        {
            registration.end();
        }
    }
}

/// Tags a descriptor whose inode does not identify it, such as an inotify instance, for [`is_tagged`].
///
/// The tag is the signal number for asynchronous I/O (`F_SETSIG`, fcntl(2)). The descriptor must not use `O_ASYNC`.
///
/// # Errors
/// [`ErrorKind::System`](lock_core::ErrorKind::System) when the system call fails.
pub fn tag(fd: impl AsFd) -> Result<()> {
    sys::set_signal(fd.as_fd(), TAG).map_err(|errno| Error::system("fcntl F_SETSIG", errno))
}

/// Returns true if the descriptor has the tag.
///
/// False means that the program has closed it, and may have reused its number.
pub fn is_tagged(fd: impl AsFd) -> bool {
    sys::signal(fd.as_fd()) == Ok(TAG)
}

/// A high real-time signal. Programs that use `F_SETSIG` usually use the lowest ones.
const TAG: libc::c_int = 61;

/// An open file description that stays open with its locks.
///
/// A mapping keeps it open, which the program cannot close by number and forked children do not inherit. On overlayfs a mapping does not
/// keep locks, and the descriptor keeps the description open.
#[derive(Debug)]
pub struct KeptDescription {
    /// `None` after [`KeptDescription::close`], when the mapping keeps the description open.
    descriptor: Option<Descriptor>,
    mapping: Option<DescriptionMapping>,
}

impl KeptDescription {
    /// Keeps the description that `open` opens. Its descriptor is [marked](Descriptor::marked).
    ///
    /// `open` must not lock the file. A child that another thread forks during the call may inherit the description, which is then
    /// discarded.
    ///
    /// # Errors
    /// Those of `open`, [`Descriptor::new`] and [`Descriptor::marked`].
    pub fn new(open: impl FnMut() -> Result<OwnedFd>) -> Result<Self> {
        Self::with(None, open)
    }

    /// Keeps the description of this file that `open` opens, as [`KeptDescription::new`] does.
    pub(crate) fn of_file(file: FileId, open: impl FnMut() -> Result<OwnedFd>) -> Result<Self> {
        Self::with(Some(file), open)
    }

    fn with(file: Option<FileId>, mut open: impl FnMut() -> Result<OwnedFd>) -> Result<Self> {
        fork::retry_across_forks(|| {
            let descriptor = Descriptor::of_process(open()?, file)?.marked()?;
            let mapping = descriptor.get().filter(|fd| keeps_locks(fd)).and_then(|fd| DescriptionMapping::new(fd).ok());
            Ok(Self { descriptor: Some(descriptor), mapping })
        })
    }

    /// Returns the descriptor, for locking the file, or `None` if it is closed.
    pub fn descriptor(&self) -> Option<&Descriptor> {
        self.descriptor.as_ref()
    }

    /// Closes the descriptor, if a mapping keeps the description open.
    pub fn close(&mut self) {
        if self.has_mapping() {
            self.descriptor = None;
        }
    }

    /// Returns true if a mapping of this process keeps the description open.
    pub(crate) fn has_mapping(&self) -> bool {
        self.mapping.as_ref().is_some_and(DescriptionMapping::is_of_this_process)
    }

    /// Returns true if the description is open in this process.
    ///
    /// False in a forked child, and when the program has closed a descriptor without a mapping.
    pub fn is_kept(&self) -> bool {
        self.has_mapping() || self.descriptor.as_ref().is_some_and(|descriptor| descriptor.get().is_some())
    }
}

/// Returns true if a mapping of the file keeps its open file description open with its locks.
pub(crate) fn keeps_locks(fd: impl AsFd) -> bool {
    fstatfs(fd).is_ok_and(|fs| fs.filesystem_type() != OVERLAYFS_SUPER_MAGIC)
}

fn above_standard_streams(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST {
        return Ok(fd);
    }
    // `try_clone` returns a number of at least 3.
    fd.try_clone().map_err(|error| Error::system("fcntl F_DUPFD_CLOEXEC", error))
}

/// An entry in the list of descriptors that forked children close.
///
/// Entries are reused and never freed, so that a forked child can read the list, which other threads of the parent may have been changing.
#[derive(Debug)]
struct Registration {
    /// [`FREE`], [`RESERVED`], or the number plus 2. If the number was closed during a fork, also [`CLOSED`], and in the bits from
    /// [`FORKS_SHIFT`] the number of forks that had begun.
    state: AtomicU64,
    epoch: AtomicU64,
    device: AtomicU64,
    inode: AtomicU64,
}

const FREE: u64 = 0;
const RESERVED: u64 = 1;
const CLOSED: u64 = 1 << 32;
const FORKS_SHIFT: u32 = 33;

const IN_A_CHUNK: usize = 64;

struct Chunk {
    entries: [Registration; IN_A_CHUNK],
    next: OnceBox<Self>,
}

static REGISTRATIONS: Chunk = Chunk::new();

impl Chunk {
    const fn new() -> Self {
        Self { entries: [const { Registration::empty() }; IN_A_CHUNK], next: OnceBox::new() }
    }
}

impl Registration {
    const fn empty() -> Self {
        Self { state: AtomicU64::new(FREE), epoch: AtomicU64::new(0), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    fn new(number: RawFd, file: FileId, epoch: u64) -> &'static Self {
        let entry = Self::reserve();
        entry.epoch.store(epoch, Relaxed);
        entry.device.store(file.device, Relaxed);
        entry.inode.store(file.inode, Relaxed);
        entry.state.store(u64::from(number.unsigned_abs()) + 2, Release);
        entry
    }

    fn reserve() -> &'static Self {
        on_child(close_inherited);
        let mut chunk = &REGISTRATIONS;
        loop {
            if let Some(entry) = chunk.entries.iter().find(|entry| entry.try_reserve()) {
                return entry;
            }
            chunk = match chunk.next.get() {
                Some(next) => next,
                None => chunk.next.get_or_init(|| Box::new(Chunk::new())),
            };
        }
    }

    /// Reserves the entry, if it is free.
    ///
    /// An entry that was closed during a fork is free when no other thread forks.
    fn try_reserve(&self) -> bool {
        let state = self.state.load(SeqCst);
        let free = state == FREE || (state & CLOSED != 0 && begun_while_forking().is_none());
        free && self.state.compare_exchange(state, RESERVED, SeqCst, Relaxed).is_ok()
    }

    /// Frees the entry of a closed number.
    ///
    /// The kernel copies descriptors to a child before it copies memory. During a fork in another thread the entry therefore remains: the
    /// child may have the descriptor, and must find it in its copy of the list.
    fn end(&self) {
        match begun_while_forking() {
            None => self.state.store(FREE, Release),
            Some(begun) => drop(self.state.fetch_or(CLOSED | begun << FORKS_SHIFT, Release)),
        }
    }
}

/// Closes the descriptors that a forked child has inherited. Called when its epoch starts.
///
/// `earlier` is the number of forks that the parent had begun before this one.
fn close_inherited(epoch: u64, earlier: u64) {
    let mut chunk = Some(&REGISTRATIONS);
    while let Some(Chunk { entries, next }) = chunk {
        for entry in entries.iter().filter(|entry| entry.epoch.load(Relaxed) != epoch) {
            let state = entry.state.load(Acquire);
            let Some(number) = (state % CLOSED).checked_sub(2) else { continue };
            let file = FileId { device: entry.device.load(Relaxed), inode: entry.inode.load(Relaxed) };
            if !was_closed_before(state, earlier) {
                close_if(number as RawFd, file);
            }
            entry.state.store(FREE, Release);
        }
        chunk = next.get();
    }
}

/// Returns true if the number of the entry was closed before the fork began.
///
/// The numbers of forks are truncated to 31 bits, so they are compared by the sign of their difference.
fn was_closed_before(state: u64, earlier: u64) -> bool {
    state & CLOSED != 0 && ((earlier.wrapping_sub(state >> FORKS_SHIFT)) << FORKS_SHIFT).cast_signed() >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn was_closed_before_distinguishes_earlier_closes_from_closes_during_the_fork() {
        for begun in [0, 1, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u64::MAX - 1] {
            let state = 9 | CLOSED | begun << FORKS_SHIFT;
            assert!(!was_closed_before(state, begun.wrapping_sub(1)), "{begun}");
            assert!(was_closed_before(state, begun) && was_closed_before(state, begun.wrapping_add(3)), "{begun}");
        }
        assert!(!was_closed_before(9, 3));
    }
}
