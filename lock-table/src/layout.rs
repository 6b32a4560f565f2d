//! The layout of a table's file, in words of eight bytes with native endianness.
//!
//! ```text
//! 0          header, one page
//! 4096       process table: 16,384 entries of 128 bytes
//! …          waiter table: 16,384 slots of 32 bytes
//! …          segment 0: ids 0..1024
//! …          segment 1: ids 1024..2048; each further segment is twice as large as the one before
//! ```
//! A segment starts with five bitmaps in whole pages: reserved pages of the bitmaps, allocated ids with summaries, groups that are
//! backed by blocks, groups with names, and groups that names have overflowed. The first bitmap keeps a large segment with few
//! allocated ids small.
//!
//! The groups follow. A group has 64 locks: 64 lines of 64 bytes, which each acquisition changes, and then 64 records of 128 bytes, which
//! only allocations and deaths change. Locks share no cache line, a scan of the lines does not read the records, and blocks are reserved
//! per group.

use std::ops::Range;

use lock_core::LockId;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const WORD: usize = 8;

pub(crate) const HEADER_WORDS: usize = PAGE as usize / WORD;

/// The maximum number of processes that have a store open at the same time.
pub(crate) const ENTRIES: usize = 16_384;
pub(crate) const ENTRY_WORDS: usize = 16;
pub(crate) const ENTRIES_PER_PAGE: usize = HEADER_WORDS / ENTRY_WORDS;
pub(crate) const ENTRIES_OFFSET: u64 = PAGE;

/// The maximum number of threads that are recorded as waiting at the same time.
pub(crate) const WAITERS: usize = 16_384;
pub(crate) const WAITER_WORDS: usize = 4;
pub(crate) const WAITERS_PER_PAGE: usize = HEADER_WORDS / WAITER_WORDS;
const WAITERS_OFFSET: u64 = ENTRIES_OFFSET + (ENTRIES * ENTRY_WORDS * WORD) as u64;

/// The offset of the byte range of the liveness locks (1 TiB), beyond all mapped bytes.
pub(crate) const LIVENESS_OFFSET: i64 = 1 << 40;

/// The size of the header, the process table and the waiter table, which are mapped together.
pub(crate) const BASE_BYTES: u64 = WAITERS_OFFSET + (WAITERS * WAITER_WORDS * WORD) as u64;

/// The words of the process table in the mapping of [`BASE_BYTES`].
pub(crate) const ENTRIES_RANGE: Range<usize> = ENTRIES_OFFSET as usize / WORD..WAITERS_OFFSET as usize / WORD;
/// The words of the waiter table in the mapping of [`BASE_BYTES`].
pub(crate) const WAITERS_RANGE: Range<usize> = WAITERS_OFFSET as usize / WORD..BASE_BYTES as usize / WORD;

/// The number of locks in a group, which is the number of bits in a word.
pub(crate) const GROUP: usize = 64;
pub(crate) const LINE_WORDS: usize = 8;
pub(crate) const RECORD_WORDS: usize = 16;
/// Words of the allocator's command in a record.
pub(crate) const COMMAND_WORDS: usize = 3;
/// Words of the label in a record.
pub(crate) const LABEL_WORDS: usize = 8;
pub(crate) const GROUP_WORDS: usize = GROUP * (LINE_WORDS + RECORD_WORDS);

/// The number of bitmaps with a bit for each group.
pub(crate) const GROUP_BITMAPS: usize = 3;

/// The number of segments for 2³² ids.
pub(crate) const SEGMENTS: usize = 23;
const FIRST_SEGMENT_BITS: u32 = 10;

/// The geometry of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    /// The first id.
    pub(crate) first: u64,
    /// The number of ids.
    pub(crate) ids: u64,
    /// The offset in the file, in bytes.
    pub(crate) offset: u64,
}

/// The precomputed geometries of all segments.
const GEOMETRIES: [Geometry; SEGMENTS] = {
    let mut all = [Geometry::shape(0, BASE_BYTES); SEGMENTS];
    let mut at = 1;
    while at < SEGMENTS {
        all[at] = Geometry::shape(at, all[at - 1].end());
        at += 1;
    }
    all
};

impl Geometry {
    pub(crate) const fn of(segment: usize) -> Self {
        GEOMETRIES[segment]
    }

    const fn shape(segment: usize, offset: u64) -> Self {
        let ids = 1 << (FIRST_SEGMENT_BITS + segment.saturating_sub(1) as u32);
        Self { first: if segment == 0 { 0 } else { ids }, ids, offset }
    }

    /// Returns the number of groups.
    pub(crate) const fn groups(self) -> usize {
        self.ids as usize / GROUP
    }

    /// Returns the number of words in each of the [`GROUP_BITMAPS`].
    pub(crate) const fn group_bitmap_words(self) -> usize {
        self.groups().div_ceil(GROUP)
    }

    /// Returns the number of words in all levels of the allocation bitmap.
    pub(crate) const fn bitmap_words(self) -> usize {
        let (mut level, mut words) = (self.groups(), 0);
        loop {
            words += level;
            if level == 1 {
                return words;
            }
            level = level.div_ceil(GROUP);
        }
    }

    /// Returns the number of words in the bitmap of reserved pages.
    ///
    /// It has a bit for each page of all bitmaps.
    pub(crate) const fn page_words(self) -> usize {
        let others = self.bitmap_words() + GROUP_BITMAPS * self.group_bitmap_words();
        // A word has bits for 64 pages. The bitmap also covers its own pages: less than one word in 64.
        (others + others / 64 + 1).div_ceil(HEADER_WORDS).div_ceil(64)
    }

    /// Returns the number of bytes before the groups.
    pub(crate) const fn bitmap_bytes(self) -> u64 {
        (((self.page_words() + self.bitmap_words() + GROUP_BITMAPS * self.group_bitmap_words()) * WORD) as u64)
            .next_multiple_of(PAGE)
    }

    /// Returns the number of bytes that are reserved when a segment is added: the bitmap of reserved pages.
    pub(crate) const fn least_bytes(self) -> u64 {
        ((self.page_words() * WORD) as u64).next_multiple_of(PAGE)
    }

    /// Returns the size of the segment in bytes.
    pub(crate) const fn bytes(self) -> u64 {
        self.bitmap_bytes() + self.group_bytes() * self.groups() as u64
    }

    /// Returns the size of a group in bytes.
    pub(crate) const fn group_bytes(self) -> u64 {
        (GROUP_WORDS * WORD) as u64
    }

    /// Returns the offset of the end of the segment in the file, in bytes.
    pub(crate) const fn end(self) -> u64 {
        self.offset + self.bytes()
    }
}

/// Returns the segment of an id and the index in the segment.
#[inline]
pub(crate) fn locate(id: LockId) -> (usize, usize) {
    let bits = u32::BITS - (id.get() >> FIRST_SEGMENT_BITS).leading_zeros();
    // A segment except the first begins at a power of two.
    let first = if bits == 0 { 0 } else { 1 << (FIRST_SEGMENT_BITS + bits - 1) };
    (bits as usize, (id.get() - first) as usize)
}

/// Returns the offset of the page that contains an entry, in bytes.
pub(crate) fn entry_page(entry: usize) -> u64 {
    ENTRIES_OFFSET + (entry / ENTRIES_PER_PAGE) as u64 * PAGE
}

/// Returns the offset of a page of the waiter table, in bytes.
pub(crate) fn waiter_page(page: usize) -> u64 {
    WAITERS_OFFSET + page as u64 * PAGE
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, 0, 0)]
    #[case(1023, 0, 1023)]
    #[case(1024, 1, 0)]
    #[case(2047, 1, 1023)]
    #[case(2048, 2, 0)]
    #[case(4095, 2, 2047)]
    #[case(4096, 3, 0)]
    #[case(u32::MAX, 22, (1 << 31) - 1)]
    fn locate_returns_the_segment_and_the_index(#[case] id: u32, #[case] segment: usize, #[case] index: usize) {
        assert_eq!(locate(LockId::new(id)), (segment, index));
    }

    #[test]
    fn segments_are_contiguous() {
        for segment in 1..SEGMENTS {
            let (before, this) = (Geometry::of(segment - 1), Geometry::of(segment));
            assert_eq!(before.end(), this.offset);
            assert_eq!(before.first + before.ids, this.first);
            assert_eq!(this.offset % PAGE, 0);
        }
        assert_eq!(Geometry::of(SEGMENTS - 1).first + Geometry::of(SEGMENTS - 1).ids, 1 << 32);
    }

    #[test]
    fn each_page_of_the_bitmaps_has_a_bit() {
        for geometry in (0..SEGMENTS).map(Geometry::of) {
            let pages = geometry.bitmap_bytes() / PAGE;
            assert!(pages <= geometry.page_words() as u64 * 64, "{geometry:?}");
            assert!(geometry.least_bytes() <= 4 * PAGE, "{geometry:?}");
        }
    }

    #[test]
    fn bitmaps_take_less_than_a_thousandth_of_a_large_segment() {
        assert_eq!(Geometry::of(0).bitmap_words(), 16 + 1);
        assert_eq!(Geometry::of(0).bitmap_bytes(), PAGE);
        let large = Geometry::of(10);
        assert_eq!(large.bitmap_words(), 8192 + 128 + 2 + 1);
        assert!(large.bitmap_bytes() * 1000 < large.bytes());
    }
}
