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

/// A segment of locks. The bitmaps are atomic here for Rust's sake; relaxed accesses are what the C code compiles to.
#[derive(Debug)]
pub(crate) struct Segment {
    region: Region,
    groups: usize,
    path: PathBuf,
}

impl Segment {
    /// How many bytes so many locks take.
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

    /// The lowest free id; `None` when there is none.
    pub(crate) fn allocate(&self) -> Option<u32> {
        self.locked(|| {
            let group = (0..self.groups).find(|group| self.bitmap(*group).load(Relaxed) != u32::MAX)?;
            let bit = self.bitmap(group).load(Relaxed).trailing_ones();
            self.bitmap(group).store(self.bitmap(group).load(Relaxed) | 1 << bit, Relaxed);
            Some(group as u32 * BITS + bit)
        })
    }

    /// Whether that id was free.
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

    /// How many ids are free, counted as podman does: a bit at a time, but for groups that are empty.
    pub(crate) fn available(&self) -> u64 {
        self.locked(|| {
            let free = |group| {
                let (mut bitmap, mut ones) = (self.bitmap(group).load(Relaxed), 0);
                while bitmap != 0 {
                    bitmap &= bitmap - 1;
                    // Or the compiler would put an instruction in place of the loop, which the C compiler does not.
                    ones = std::hint::black_box(ones + 1);
                }
                u64::from(BITS - ones)
            };
            (0..self.groups).map(free).sum()
        })
    }

    /// How many locks are held, found out as podman does: by taking and releasing each.
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

    /// Marks the first ids as allocated, without the scans that allocating them one by one would take.
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
