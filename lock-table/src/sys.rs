//! The unsafe code of this crate, each piece behind a safe face.
#![allow(unsafe_code)]

mod attributes;
mod descriptor;
mod extents;
mod mapping;
mod process;

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::lock_line::Hot;

pub(crate) use self::attributes::{is_copied_on_write, switch_copy_on_write_off};
pub(crate) use self::descriptor::{close_if, set_signal, signal};
pub(crate) use self::extents::shared_ranges;
pub(crate) use self::mapping::DescriptionKeeper;
pub(crate) use self::process::{pid_namespace_of, pidfd_open, random, thread_exists};

/// A part of a file, mapped shared, as words that other processes change at the same time.
#[derive(Debug)]
pub(crate) struct Words {
    map: ManuallyDrop<MmapRaw>,
    len: usize,
    leaked: AtomicBool,
}

impl Words {
    /// Maps `bytes` of the file from `offset`. The file must have that many, or touching them is a SIGBUS: callers look first.
    pub(crate) fn map(file: impl AsFd, offset: u64, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = MmapOptions::new().offset(offset).len(bytes).map_raw(file.as_fd().as_raw_fd())?;
        assert_eq!(map.as_ptr().align_offset(align_of::<AtomicU64>()), 0, "a mapping at a multiple of a page is aligned");
        Ok(Self { map: ManuallyDrop::new(map), len: bytes / size_of::<AtomicU64>(), leaked: AtomicBool::new(false) })
    }

    /// Keeps the mapping for ever.
    pub(crate) fn leak(&self) {
        self.leaked.store(true, Ordering::Relaxed);
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if !*self.leaked.get_mut() {
            // SAFETY: the mapping is dropped once, here. All references into it borrow `self`, which ends.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is at least `len` words long, readable and writable, aligned (asserted in `map`), and lives as long as
        // `self`. This process accesses it by atomic operations only. Other processes may write anything to it at any time, by whatever
        // means: every bit pattern is a valid AtomicU64. If the file is cut off, an access is a SIGBUS, which ends the process.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

/// Views the eight words of a lock's line as its fields.
pub(crate) fn hot(words: &[AtomicU64]) -> &Hot {
    assert_eq!(size_of_val(words), size_of::<Hot>());
    // SAFETY: the slice has the size of `Hot` (asserted), at least its alignment (that of u64), and the same lifetime. `Hot` is made
    // of atomic integers only, for which every bit pattern is valid. A line is accessed through `Hot` only, so that no access has another
    // size than another to the same place.
    unsafe { &*words.as_ptr().cast::<Hot>() }
}

/// How many bits are set in the words.
pub(crate) fn count_ones(words: &[AtomicU64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("popcnt") {
        // Without it a count takes a dozen instructions, and programs are compiled for processors that do not have it.
        #[target_feature(enable = "popcnt")]
        fn with_instruction(words: &[AtomicU64]) -> u64 {
            let ones =
                |words: &[AtomicU64]| words.iter().map(|word| u64::from(word.load(Ordering::SeqCst).count_ones())).sum::<u64>();
            // Eight that do not wait for each other.
            let (eights, rest) = words.as_chunks::<8>();
            eights.iter().map(|eight| ones(eight)).sum::<u64>() + ones(rest)
        }
        // SAFETY: this processor has the instruction.
        return unsafe { with_instruction(words) };
    }
    words.iter().map(|word| u64::from(word.load(Ordering::SeqCst).count_ones())).sum()
}

/// A value that is replaced as a whole, so that a forked child finds either the old one or the new one, whatever the parent's other
/// threads were doing.
#[derive(Debug)]
pub(crate) struct Published<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T: Clone + Default> Published<T> {
    pub(crate) const fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// A copy. Readers and writers of one process hold one lock, which a forked child has anew.
    pub(crate) fn get(&self, _lock: &MutexGuard<'_, ()>) -> T {
        // SAFETY: the pointer is null or came from `Box::into_raw` in `replace`, and is freed only by a later `replace`, which the lock
        // excludes. In a forked child no thread of the parent is left.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }.cloned().unwrap_or_default()
    }

    /// Replaces it.
    pub(crate) fn replace(&self, _lock: &MutexGuard<'_, ()>, value: T) {
        let old = self.value.swap(Box::into_raw(Box::new(value)), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: it came from `Box::into_raw`, and readers hold the lock, so that none has it.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

/// Renames a file, unless a file of the new name exists. Both names are relative to the directory.
///
/// Uses the raw system call, because not every C library has a function for it.
pub(crate) fn rename_new(directory: BorrowedFd<'_>, from: &Path, to: &Path) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (from, to) = (text(from)?, text(to)?);
    let [from, to] = [&from, &to].map(|path| CStr::as_ptr(path));
    let directory = directory.as_raw_fd();
    // SAFETY: both are strings that end, and live until the call is over. The descriptor is borrowed for as long.
    match unsafe { libc::syscall(libc::SYS_renameat2, directory, from, directory, to, libc::RENAME_NOREPLACE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
