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

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use once_cell::race::OnceBox;

use crate::file_id::FileId;
use crate::sys::{DescriptionKeeper, close_if};
use crate::{fork, sys};
use lock_core::__private::fork::{begun_while_forking, on_child};
use lock_core::{Error, Result};

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
            let _ = nix::unistd::close(self.fd.as_raw_fd());
        }
        if let Some(registration) = self.registration
            && self.epoch == fork::epoch()
        {
            registration.end();
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
    /// [`FREE`], [`RESERVED`], or the number plus 2. After the number was closed during a fork, also [`CLOSED`] and, above that, how
    /// many forks had begun.
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

    /// Reserves the entry, if it is free: always, or since the forks ended that may have copied its descriptor.
    fn try_reserve(&self) -> bool {
        let state = self.state.load(SeqCst);
        let free = state == FREE || (state & CLOSED != 0 && begun_while_forking().is_none());
        free && self.state.compare_exchange(state, RESERVED, SeqCst, Relaxed).is_ok()
    }

    /// Frees the entry of a number that has been closed. The kernel copies descriptors to a child before it copies memory, so during a
    /// fork in another thread the entry stays: the child may have the descriptor, and must find it in its copy of the list.
    fn end(&self) {
        match begun_while_forking() {
            None => self.state.store(FREE, Release),
            Some(begun) => drop(self.state.fetch_or(CLOSED | begun << FORKS_SHIFT, Release)),
        }
    }
}

/// Closes the descriptors of this process's parent, in a process that has just got this epoch. Its parent had forked `earlier` times
/// before.
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

/// Whether the entry's number was closed before the fork began. The difference counts as signed: the numbers are cut to 31 bits.
fn was_closed_before(state: u64, earlier: u64) -> bool {
    state & CLOSED != 0 && ((earlier.wrapping_sub(state >> FORKS_SHIFT)) << FORKS_SHIFT).cast_signed() >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_closed_before_a_fork_is_told_from_one_closed_during_it() {
        for begun in [0, 1, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, u64::MAX - 1] {
            let state = 9 | CLOSED | begun << FORKS_SHIFT;
            assert!(!was_closed_before(state, begun.wrapping_sub(1)), "{begun}");
            assert!(was_closed_before(state, begun) && was_closed_before(state, begun.wrapping_add(3)), "{begun}");
        }
        assert!(!was_closed_before(9, 3));
    }
}
