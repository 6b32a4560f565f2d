//! The shared mapping of a segment.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::layout::{GROUP_LOCKS, Group, Header, Mutex, group_at, length};

/// A segment in memory. Other processes change it at the same time.
///
/// The mapping stays when a lock of it is held at its end, because the robust list of the owner leads to it.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: ManuallyDrop<MmapRaw>,
    groups: u32,
    /// The number of mutexes that this process has acquired through the mapping and not released. Those of threads that have ended count.
    held: AtomicU32,
}

impl Mapping {
    /// Maps a file with this number of groups.
    ///
    /// The caller has checked the length of the file: an access beyond its end causes a SIGBUS.
    pub(crate) fn new(file: &File, groups: u32) -> io::Result<Self> {
        let bytes = usize::try_from(length(groups)).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        assert_eq!(map.as_ptr().align_offset(align_of::<Group>()), 0, "mmap returned an address that is not aligned to a page");
        Ok(Self { map: ManuallyDrop::new(map), groups, held: AtomicU32::new(0) })
    }

    /// Returns the beginning of the segment.
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping has at least the length of the header, is readable, writable and aligned, and lives as long as `self`. This
        // process only uses atomic operations on it. Other processes may write it at any time; every bit pattern is valid.
        unsafe { &*self.map.as_ptr().cast() }
    }

    /// Returns a group, if the segment has it.
    #[inline]
    pub(crate) fn group(&self, group: u32) -> Option<&Group> {
        // SAFETY: `length` includes the group if its number is less than that of the groups. Otherwise as in `header`.
        (group < self.groups).then(|| unsafe { &*self.map.as_ptr().add(group_at(group) as usize).cast() })
    }

    /// Returns the groups.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        (0..self.groups).filter_map(|group| self.group(group))
    }

    /// Returns the mutex of a lock, if the segment has it.
    #[inline]
    pub(crate) fn mutex(&self, lock: u32) -> Option<&Mutex> {
        Some(&self.group(lock / GROUP_LOCKS)?.mutexes[(lock % GROUP_LOCKS) as usize])
    }

    /// Records that a thread of this process has acquired a mutex.
    #[inline]
    pub(crate) fn add_held(&self) {
        self.held.fetch_add(1, Relaxed);
    }

    /// Records that a thread of this process has released a mutex.
    #[inline]
    pub(crate) fn remove_held(&self) {
        self.held.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if *self.held.get_mut() == 0 {
            // SAFETY: `drop` runs once and nothing else drops the mapping. All references into it borrow `self`. No mutex of it is held by
            // this process, so that no robust list leads to it.
            unsafe { ManuallyDrop::drop(&mut self.map) };
        }
    }
}
