//! The unsafe code of this crate, behind safe functions and types.
#![allow(unsafe_code)]

mod attributes;
mod clock;
mod descriptor;
mod extents;
pub mod futex;
mod mapping;
mod prefetch;
mod process;

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

use crate::lock_line::LockLine;

pub(crate) use self::attributes::{is_copied_on_write, switch_copy_on_write_off};
pub use self::clock::coarse_time;
pub(crate) use self::descriptor::{close_if, set_signal, signal};
pub(crate) use self::extents::shared_ranges;
pub(crate) use self::mapping::DescriptionMapping;
pub(crate) use self::prefetch::prefetch;
pub(crate) use self::process::{pid_namespace_of, pidfd_open, random, thread_exists};

/// A part of a shared mapping of a file, as words that other processes change at the same time.
#[derive(Debug)]
pub(crate) struct MappedWords {
    mapping: Arc<Mapping>,
    /// In words.
    start: usize,
    len: usize,
}

#[derive(Debug)]
struct Mapping {
    map: ManuallyDrop<MmapRaw>,
    leaked: AtomicBool,
}

impl MappedWords {
    /// Maps `bytes` of the file from `offset`.
    ///
    /// The caller checks the length of the file: an access beyond its end causes a SIGBUS.
    pub(crate) fn map(file: impl AsFd, offset: u64, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = MmapOptions::new().offset(offset).len(bytes).map_raw(file.as_fd().as_raw_fd())?;
        assert_eq!(
            map.as_ptr().align_offset(align_of::<AtomicU64>()),
            0,
            "mmap returned an address that is not aligned to a page"
        );
        let mapping = Mapping { map: ManuallyDrop::new(map), leaked: AtomicBool::new(false) };
        Ok(Self { mapping: Arc::new(mapping), start: 0, len: bytes / size_of::<AtomicU64>() })
    }

    /// Splits the words of a mapping after this number of bytes.
    pub(crate) fn split(self, bytes: u64) -> (Self, Self) {
        let words = usize::try_from(bytes).map_or(self.len, |bytes| self.len.min(bytes / size_of::<AtomicU64>()));
        let second = Self { mapping: Arc::clone(&self.mapping), start: self.start + words, len: self.len - words };
        (Self { len: words, ..self }, second)
    }

    /// Unmaps the pages of a range of words from memory. They are mapped again when they are accessed.
    ///
    /// The range begins and ends at a page boundary. An error changes nothing, and is ignored.
    pub(crate) fn unmap_pages(&self, words: Range<usize>) {
        assert!(words.end <= self.len);
        let (offset, bytes) = ((self.start + words.start) * size_of::<AtomicU64>(), words.len() * size_of::<AtomicU64>());
        // SAFETY: the range is inside the mapping, which is shared, so that the words stay in the file. An access through a reference maps
        // the same page of the file again.
        let _ = unsafe { self.mapping.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes) };
    }

    /// Keeps the mapping until the process ends.
    pub(crate) fn leak(&self) {
        self.mapping.leaked.store(true, Ordering::Relaxed);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !*self.leaked.get_mut() {
            // SAFETY: `drop` runs once and nothing else drops the mapping. All references into it borrow a `MappedWords`, which keeps it.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

impl Deref for MappedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has at least `start + len` words, is readable, writable and aligned (asserted in `map`), and lives as
        // long as `self`. This process only uses atomic operations on it. Other processes may write it at any time; every bit pattern is a valid
        // AtomicU64. If the file is truncated, an access causes a SIGBUS, which kills the process.
        unsafe { std::slice::from_raw_parts(self.mapping.map.as_ptr().cast::<AtomicU64>().add(self.start), self.len) }
    }
}

/// Returns a view of the eight words of a line as a [`LockLine`].
pub(crate) fn line(words: &[AtomicU64]) -> &LockLine {
    assert_eq!(size_of_val(words), size_of::<LockLine>());
    // SAFETY: the slice has the size of `LockLine` (asserted), its alignment (that of u64), and the lifetime of the result. `LockLine` consists of
    // atomic integers, for which every bit pattern is valid. Lines are only accessed through `LockLine`, so that all accesses to a byte have
    // the same size.
    unsafe { &*words.as_ptr().cast::<LockLine>() }
}

/// Returns the number of set bits in the words.
pub(crate) fn count_ones(words: &[AtomicU64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("popcnt") {
        // The default target does not have this instruction, and a dozen instructions replace it.
        #[target_feature(enable = "popcnt")]
        fn with_instruction(words: &[AtomicU64]) -> u64 {
            let ones =
                |words: &[AtomicU64]| words.iter().map(|word| u64::from(word.load(Ordering::SeqCst).count_ones())).sum::<u64>();
            // Separate sums of eight words, so that the additions do not depend on each other.
            let (eights, rest) = words.as_chunks::<8>();
            eights.iter().map(|eight| ones(eight)).sum::<u64>() + ones(rest)
        }
        // SAFETY: `is_x86_feature_detected` returned true.
        return unsafe { with_instruction(words) };
    }
    words.iter().map(|word| u64::from(word.load(Ordering::SeqCst).count_ones())).sum()
}

/// A value that is replaced atomically.
///
/// A child that is forked during a replacement has either the old or the new value.
#[derive(Debug)]
pub(crate) struct Published<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T: Clone + Default> Published<T> {
    pub(crate) const fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// Returns a copy.
    ///
    /// All readers and writers of a process hold the same lock. A forked child has another lock.
    pub(crate) fn get(&self, _lock: &MutexGuard<'_, ()>) -> T {
        // SAFETY: the pointer is null or from `Box::into_raw` in `replace`. Only `replace` frees it, and the lock excludes that. A forked
        // child has no other thread of its parent.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }.cloned().unwrap_or_default()
    }

    /// Replaces the value.
    pub(crate) fn replace(&self, _lock: &MutexGuard<'_, ()>, value: T) {
        let old = self.value.swap(Box::into_raw(Box::new(value)), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: the pointer is from `Box::into_raw`. Readers copy the value under the lock, so none has a reference.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

/// Renames a file, unless a file with the new name exists (renameat2(2), RENAME_NOREPLACE).
///
/// Both names are relative to the directory.
///
/// Uses the raw system call, because not every C library has a function for it.
pub(crate) fn rename_new(directory: BorrowedFd<'_>, from: &Path, to: &Path) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (from, to) = (text(from)?, text(to)?);
    let [from, to] = [&from, &to].map(|path| CStr::as_ptr(path));
    let directory = directory.as_raw_fd();
    // SAFETY: both pointers are to NUL-terminated strings that live until the call returns. The descriptor is borrowed for that time.
    match unsafe { libc::syscall(libc::SYS_renameat2, directory, from, directory, to, libc::RENAME_NOREPLACE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
