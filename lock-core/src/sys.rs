//! The unsafe code of this crate, each piece behind a safe face.
#![allow(unsafe_code)]

mod attributes;
mod descriptor;
mod extents;
mod fork;
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
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use memmap2::{MmapOptions, MmapRaw};

use crate::table::Hot;

pub(crate) use self::attributes::{is_copied_on_write, switch_copy_on_write_off};
pub(crate) use self::descriptor::{close_if, set_signal, signal};
pub(crate) use self::extents::shared_ranges;
pub(crate) use self::fork::{ForkWords, at_fork, epoch, wipe, wipe_on_fork};
pub(crate) use self::mapping::DescriptionKeeper;
pub(crate) use self::process::{pid_namespace_of, pidfd_open, random, thread_exists};

/// A part of a file, mapped shared, as words that other processes change at the same time.
#[derive(Debug)]
pub(crate) struct Words {
    map: ManuallyDrop<MmapRaw>,
    len: usize,
    leaked: bool,
}

impl Words {
    /// Maps `bytes` of the file from `offset`. The file must have that many, or touching them is a SIGBUS: callers look first.
    pub(crate) fn map(file: impl AsFd, offset: u64, bytes: u64) -> io::Result<Self> {
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = MmapOptions::new().offset(offset).len(bytes).map_raw(file.as_fd().as_raw_fd())?;
        assert_eq!(map.as_ptr().align_offset(align_of::<AtomicU64>()), 0, "a mapping at a multiple of a page is aligned");
        Ok(Self { map: ManuallyDrop::new(map), len: bytes / size_of::<AtomicU64>(), leaked: false })
    }

    /// Keeps the mapping for ever.
    pub(crate) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        if !self.leaked {
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

/// A cell that is written once, and that neither a fork nor a kill can leave half way: unlike `OnceLock`, no thread ever waits for
/// another. Of two racing writers one value is kept and the other dropped.
#[derive(Debug)]
pub(crate) struct SetOnce<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T> SetOnce<T> {
    pub(crate) const fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: the pointer is null or came from `Box::into_raw` in `set`; it is never replaced nor freed before `self` is dropped.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as in `get`; nobody else can borrow from `self` now.
        unsafe { self.value.get_mut().as_mut() }
    }

    pub(crate) fn set(&self, value: T) -> &T {
        let new = Box::into_raw(Box::new(value));
        match self.value.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as in `get`; it is the pointer that was just stored.
            Ok(_) => unsafe { &*new },
            Err(kept) => {
                // SAFETY: `new` came from `Box::into_raw` above and was not shared.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: as in `get`; a failed exchange from null found a pointer that is not null.
                unsafe { &*kept }
            }
        }
    }
}

impl<T> Drop for SetOnce<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: it came from `Box::into_raw`, and nobody can borrow from `self` any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
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

/// A reference into something shared, together with what keeps it alive.
#[derive(Debug)]
pub(crate) struct Pinned<O: ?Sized, T: ?Sized> {
    owner: Arc<O>,
    target: NonNull<T>,
}

impl<O: ?Sized> Pinned<O, O> {
    /// The whole owner: where it is, without a way round.
    pub(crate) fn whole(owner: Arc<O>) -> Self {
        let target = NonNull::from(&*owner);
        Self { owner, target }
    }
}

impl<O: ?Sized, T: ?Sized> Clone for Pinned<O, T> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), target: self.target }
    }
}

impl<O: ?Sized, T: ?Sized> Pinned<O, T> {
    /// What `project` finds in the owner.
    pub(crate) fn new<E>(owner: Arc<O>, project: impl for<'a> FnOnce(&'a O) -> Result<&'a T, E>) -> Result<Self, E> {
        let target = NonNull::from(project(&owner)?);
        Ok(Self { owner, target })
    }

    pub(crate) fn keeper(this: &Self) -> &Arc<O> {
        &this.owner
    }
}

impl<O: ?Sized, T: ?Sized> Deref for Pinned<O, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the target was borrowed from `*owner` for a lifetime of the callee's choice, so it is valid for as long as `*owner`
        // is borrowed. The owner stays where it is, behind the Arc, for as long as `self` holds it, and is never borrowed mutably.
        unsafe { self.target.as_ref() }
    }
}

// SAFETY: a `Pinned` is an `Arc<O>` and a `&T`; it may be sent and shared when those may.
unsafe impl<O: ?Sized + Send + Sync, T: ?Sized + Sync> Send for Pinned<O, T> {}
// SAFETY: as above.
unsafe impl<O: ?Sized + Send + Sync, T: ?Sized + Sync> Sync for Pinned<O, T> {}

/// A box that is taken back by hand: dropping one frees nothing, and so is no code.
#[derive(Debug)]
pub(crate) struct Parked<T>(Option<NonNull<T>>);

impl<T> Parked<T> {
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    pub(crate) fn new(value: Box<T>) -> Self {
        Self(Some(NonNull::from(Box::leak(value))))
    }

    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: it came from a box in `new`, and is freed by `unpark` only, which takes `self`.
        self.0.map(|value| unsafe { value.as_ref() })
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as in `get`; `self` is borrowed exclusively, and no other value has the pointer.
        self.0.as_mut().map(|value| unsafe { value.as_mut() })
    }

    pub(crate) fn unpark(self) -> Option<Box<T>> {
        // SAFETY: it came from a box in `new`, and `self`, which had the only pointer to it, is consumed.
        self.0.map(|value| unsafe { Box::from_raw(value.as_ptr()) })
    }
}

// SAFETY: a `Parked` is an `Option<Box<T>>` that is not dropped by itself; it may be sent and shared when that may.
unsafe impl<T: Send> Send for Parked<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Parked<T> {}

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
