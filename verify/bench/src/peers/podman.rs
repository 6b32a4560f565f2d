//! Podman's segment: its layout, and its algorithms over it, in Rust. The mutexes are glibc's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use crate::sys::{Attributes, Mutex, Region};

const MAGIC: u32 = 0x87D1;
const SEGMENT_LOCK: usize = 8;
const GROUPS: usize = 48;
const LOCKS: usize = 52;
const HEADER: usize = 56;
const GROUP: usize = 1288;
const FIRST_MUTEX: usize = 8;
const MUTEX: usize = 40;
const BITS: u32 = 32;

/// A segment of locks. The bitmaps are atomics, with relaxed accesses that compile to the same code as in C.
#[derive(Debug)]
pub(crate) struct Segment {
    region: Region,
    groups: usize,
    path: PathBuf,
}

impl Segment {
    /// The size of a segment with this many locks, in bytes.
    pub(crate) fn bytes(locks: u32) -> u64 {
        (HEADER + GROUP * locks.div_ceil(BITS) as usize) as u64
    }

    pub(crate) fn create(path: &Path, locks: u32) -> Self {
        let groups = locks.div_ceil(BITS) as usize;
        let segment = Self { region: Region::create(path, Self::bytes(locks)), groups, path: path.to_owned() };
        segment.region.word(0).store(MAGIC, Relaxed);
        segment.region.word(LOCKS).store(groups as u32 * BITS, Relaxed);
        segment.region.word(GROUPS).store(groups as u32, Relaxed);
        let attributes = Attributes::shared(true);
        segment.segment_lock().init(&attributes);
        for group in 0..groups {
            segment.bitmap(group).store(0, Relaxed);
            (0..BITS).for_each(|bit| segment.mutex(group as u32 * BITS + bit).init(&attributes));
        }
        segment
    }

    pub(crate) fn open(path: &Path, locks: u32) -> Self {
        let region = Region::open(path);
        assert_eq!(region.word(0).load(Relaxed), MAGIC);
        let groups = locks.div_ceil(BITS);
        assert_eq!(region.word(LOCKS).load(Relaxed), groups * BITS);
        Self { region, groups: groups as usize, path: path.to_owned() }
    }

    pub(crate) fn destroy(self) {
        drop(self.region);
        std::fs::remove_file(&self.path).expect("it is there");
    }

    /// Allocates the lowest free id, if there is one.
    pub(crate) fn allocate(&self) -> Option<u32> {
        self.locked(|| {
            let group = (0..self.groups).find(|group| self.bitmap(*group).load(Relaxed) != u32::MAX)?;
            let bit = self.bitmap(group).load(Relaxed).trailing_ones();
            self.bitmap(group).store(self.bitmap(group).load(Relaxed) | 1 << bit, Relaxed);
            Some(group as u32 * BITS + bit)
        })
    }

    /// Allocates this id. Returns whether it was free.
    pub(crate) fn allocate_given(&self, id: u32) -> bool {
        let (bitmap, bit) = (self.bitmap((id / BITS) as usize), 1 << (id % BITS));
        self.locked(|| {
            let before = bitmap.load(Relaxed);
            bitmap.store(before | bit, Relaxed);
            before & bit == 0
        })
    }

    pub(crate) fn free(&self, id: u32) {
        let (bitmap, bit) = (self.bitmap((id / BITS) as usize), 1 << (id % BITS));
        self.locked(|| {
            assert_ne!(bitmap.load(Relaxed) & bit, 0, "it is allocated");
            bitmap.store(bitmap.load(Relaxed) & !bit, Relaxed);
        });
    }

    pub(crate) fn free_all(&self) {
        self.locked(|| (0..self.groups).for_each(|group| self.bitmap(group).store(0, Relaxed)));
    }

    /// Counts the free ids as podman does: bit by bit, except in empty groups.
    pub(crate) fn available(&self) -> u64 {
        self.locked(|| {
            let free = |group| {
                let (mut bitmap, mut ones) = (self.bitmap(group).load(Relaxed), 0);
                while bitmap != 0 {
                    bitmap &= bitmap - 1;
                    // Prevents the compiler from replacing the loop by one instruction, as the C compiler does not do that.
                    ones = std::hint::black_box(ones + 1);
                }
                u64::from(BITS - ones)
            };
            (0..self.groups).map(free).sum()
        })
    }

    /// Counts the held locks as podman does: by acquiring and releasing each.
    pub(crate) fn held(&self) -> usize {
        let is_held = |id: &u32| {
            let mutex = self.mutex(*id);
            let free = mutex.try_lock();
            if free {
                mutex.unlock();
            }
            !free
        };
        (0..self.groups as u32 * BITS).filter(is_held).count()
    }

    /// Marks the first ids as allocated, without a scan for each.
    pub(crate) fn fill(&self, ids: u32) {
        for group in 0..self.groups {
            let set = ids.saturating_sub(group as u32 * BITS).min(BITS);
            self.bitmap(group).store(if set == BITS { u32::MAX } else { (1 << set) - 1 }, Relaxed);
        }
    }

    pub(crate) fn mutex(&self, id: u32) -> Mutex<'_> {
        let group = HEADER + (id / BITS) as usize * GROUP;
        self.region.mutex(group + FIRST_MUTEX + (id % BITS) as usize * MUTEX)
    }

    fn segment_lock(&self) -> Mutex<'_> {
        self.region.mutex(SEGMENT_LOCK)
    }

    fn bitmap(&self, group: usize) -> &AtomicU32 {
        self.region.word(HEADER + group * GROUP)
    }

    fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        self.segment_lock().lock();
        let result = work();
        self.segment_lock().unlock();
        result
    }
}
