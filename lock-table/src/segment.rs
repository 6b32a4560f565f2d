mod scan;

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use crate::bitmap::{Bitmap, Levels, ones};
use crate::blocks;
use crate::layout::{GROUP, GROUP_BITMAPS, GROUP_WORDS, Geometry, LINE_WORDS, PAGE, RECORD_WORDS, WORD};
use crate::lock_line::LockLine;
use crate::name::Name;
use crate::record::{Record, RecordWords};
use crate::sparse::{PAGE_WORDS, Sparse};
use crate::sys::{self, MappedWords};
use crate::table_file::TableFile;
use crate::touched::TouchedGroups;
use lock_core::{Allocation, Generation, LockId, Result};

pub(crate) use self::scan::Pages;

/// A bitmap of groups, by its position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// The group is backed by blocks.
    Backed,
    /// A name was allocated in the group, or a process was killed just before.
    Named,
    /// A name was allocated elsewhere because it found no free id in the group, or a process was killed just before.
    Overflowed,
}

const _: () = assert!(Mark::Overflowed as usize + 1 == GROUP_BITMAPS);

// A group is a number of pages, and begins at a page.
const _: () = assert!((GROUP_WORDS * WORD).is_multiple_of(PAGE as usize));

/// A mapped part of a table: the bitmaps, lines and records of a range of ids.
#[derive(Debug)]
pub(crate) struct Segment {
    geometry: Geometry,
    words: MappedWords,
    /// The number of valid ids, which only becomes greater.
    bits: AtomicUsize,
    levels: Levels,
    // Cached results of the geometry's methods: the words of two bitmaps, and the words before the groups.
    page_words: usize,
    bitmap_words: usize,
    words_before: usize,
    touched: TouchedGroups,
}

impl Segment {
    /// Creates a segment of which the first `bits` ids are valid.
    ///
    /// The last segment may extend beyond the capacity.
    pub(crate) fn new(geometry: Geometry, words: MappedWords, bits: usize) -> Self {
        Self {
            geometry,
            words,
            bits: AtomicUsize::new(bits),
            levels: Levels::new(geometry.groups()),
            page_words: geometry.page_words(),
            bitmap_words: geometry.bitmap_words(),
            words_before: geometry.bitmap_bytes() as usize / WORD,
            touched: TouchedGroups::new(geometry.groups()),
        }
    }

    /// Returns true if each id of the segment is valid.
    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.bits() as u64 == self.geometry.ids
    }

    /// Makes the first `bits` ids valid.
    pub(crate) fn raise(&self, bits: usize) {
        if self.bits() < bits {
            self.bits.fetch_max(bits, Relaxed);
        }
    }

    fn bits(&self) -> usize {
        self.bits.load(Relaxed)
    }

    /// Keeps the segment mapped until the process ends.
    pub(crate) fn leak(&self) {
        self.words.leak();
    }

    /// Returns the offset of its end in the file, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.geometry.end()
    }

    pub(crate) fn id(&self, index: usize) -> LockId {
        LockId::new((self.geometry.first + index as u64) as u32)
    }

    pub(crate) fn allocated(&self) -> Bitmap<'_> {
        let words = &self.words[self.page_words..][..self.bitmap_words];
        Bitmap::new(Sparse::new(words, self.pages(), self.page_words), &self.levels, self.bits())
    }

    /// Returns the line of an id. The group of the id must be backed by blocks.
    pub(crate) fn line(&self, index: usize) -> &LockLine {
        sys::line(&self.group(index)[index % GROUP * LINE_WORDS..][..LINE_WORDS])
    }

    /// Returns the line of an id, or `None` if no process has used it.
    pub(crate) fn backed_line(&self, index: usize) -> Option<&LockLine> {
        self.is_backed(index / GROUP).then(|| self.line(index))
    }

    /// Returns the line and the record of an id for a handle, and records that this process may have a handle on it.
    pub(crate) fn touch(&self, index: usize) -> (&LockLine, &RecordWords) {
        self.touched.set(index / GROUP);
        (self.line(index), self.record_words(index))
    }

    /// Returns the lines on which this process may have a handle.
    pub(crate) fn touched_lines(&self) -> impl Iterator<Item = &LockLine> {
        let groups = self.touched.iter().take_while(|group| group * GROUP < self.bits());
        let indexes = groups.flat_map(|group| group * GROUP..((group + 1) * GROUP).min(self.bits()));
        indexes.map(|index| self.line(index))
    }

    /// Returns the record of an id. The group of the id must be backed by blocks.
    pub(crate) fn record(&self, index: usize) -> Record<'_> {
        Record::new(self.record_words(index))
    }

    fn record_words(&self, index: usize) -> &RecordWords {
        let words = self.group(index)[GROUP * LINE_WORDS + index % GROUP * RECORD_WORDS..].first_chunk();
        words.expect("a group has a record for each of its ids")
    }

    /// Prefetches the record of an id. The group of the id need not be backed by blocks.
    pub(crate) fn prefetch_record(&self, index: usize) {
        self.record_words(index).iter().step_by(LINE_WORDS).for_each(sys::prefetch);
    }

    /// Returns the allocation of an id, or `None` if it is not allocated.
    ///
    /// When each of 1,000 attempts overlaps with a write, the result has only the id. That happens in a damaged table, or when the
    /// writer does not run.
    pub(crate) fn read(&self, index: usize) -> Option<Allocation> {
        for _ in 0..1000 {
            if !self.is_backed(index / GROUP) || !self.allocated().get(index) {
                return None;
            }
            if let Some(allocation) = self.record(index).read(self.id(index)) {
                return Some(allocation);
            }
            std::thread::yield_now();
        }
        Some(Allocation::new(self.id(index)))
    }

    /// Backs the group of an id with blocks, so that it can be accessed.
    #[inline]
    pub(crate) fn back_group(&self, file: &TableFile, index: usize) -> Result<()> {
        let group = index / GROUP;
        if self.is_backed(group) { Ok(()) } else { self.back(file, index, group) }
    }

    #[cold]
    fn back(&self, file: &TableFile, index: usize, group: usize) -> Result<()> {
        for word in self.allocated().words_of(index) {
            self.reserve_page(file, (self.page_words + word) / PAGE_WORDS)?;
        }
        let bytes = self.geometry.group_bytes();
        let offset = self.geometry.offset + self.geometry.bitmap_bytes() + group as u64 * bytes;
        blocks::back(file.get()?, offset, bytes).map_err(|error| error.at(file.path()))?;
        self.mark(file, Mark::Backed, group)
    }

    /// Returns true if each id of a group is allocated.
    pub(crate) fn is_full(&self, group: usize) -> bool {
        self.allocated().is_full(group)
    }

    /// Returns the valid ids of a group, as indexes.
    pub(crate) fn indexes_of(&self, group: usize) -> Range<usize> {
        group * GROUP..((group + 1) * GROUP).min(self.bits())
    }

    /// Returns the id of a group that is allocated under this name, as an index, and its generation.
    pub(crate) fn find_name(&self, group: usize, name: &Name<'_>) -> Option<(usize, Generation)> {
        if !self.has(Mark::Named, group) || !self.is_backed(group) {
            return None;
        }
        let mut indexes = ones(self.allocated().word(group)).map(|bit| group * GROUP + bit);
        indexes.find_map(|index| Some((index, self.generation_of_name(index, name)?)))
    }

    /// Returns the generation of an id if it is allocated under this name.
    ///
    /// A record is only written while its bit is clear. So in a store that is not damaged, the second attempt succeeds or finds the id free.
    fn generation_of_name(&self, index: usize, name: &Name<'_>) -> Option<Generation> {
        let (bits, record) = (self.allocated(), self.record(index));
        for _ in 0..1000 {
            // If the allocation whose bit is set has another tag, it has another name.
            if record.tag() != name.tag() {
                return None;
            }
            if let Ok(found) = record.find(name.words(), name.tag(), || bits.get(index)) {
                return found;
            }
            if !bits.get(index) {
                return None;
            }
            std::thread::yield_now();
        }
        None
    }

    /// Returns true if the group has a mark.
    pub(crate) fn has(&self, mark: Mark, group: usize) -> bool {
        let (at, bit) = (self.words_before_marks(mark) + group / GROUP, 1 << (group % GROUP));
        Sparse::new(&self.words, self.pages(), 0).load(at) & bit != 0
    }

    /// Marks a group. The mark is never removed.
    pub(crate) fn mark(&self, file: &TableFile, mark: Mark, group: usize) -> Result<()> {
        if !self.has(mark, group) {
            self.reserve_page(file, (self.words_before_marks(mark) + group / GROUP) / PAGE_WORDS)?;
            self.marks(mark).reserved(group / GROUP).fetch_or(1 << (group % GROUP), SeqCst);
        }
        Ok(())
    }

    /// Backs a page of the bitmaps with blocks.
    fn reserve_page(&self, file: &TableFile, page: usize) -> Result<()> {
        let (word, bit) = (&self.pages()[page / GROUP], 1 << (page % GROUP));
        if word.load(Acquire) & bit == 0 {
            let offset = self.geometry.offset + page as u64 * PAGE;
            blocks::back(file.get()?, offset, PAGE).map_err(|error| error.at(file.path()))?;
            word.fetch_or(bit, Release);
        }
        Ok(())
    }

    /// Returns the groups from this one on that are backed by blocks and contain valid ids.
    fn backed_groups(&self, from: usize) -> impl Iterator<Item = usize> {
        let words =
            self.backed().runs(from / GROUP..self.geometry.group_bitmap_words()).flat_map(|(first, words)| (first..).zip(words));
        let groups = words.flat_map(|(at, word)| ones(word.load(Acquire)).map(move |bit| at * GROUP + bit));
        groups.skip_while(move |group| *group < from).take_while(|group| group * GROUP < self.bits())
    }

    /// Returns true if the lines and records of the group can be accessed.
    pub(crate) fn is_backed(&self, group: usize) -> bool {
        self.has(Mark::Backed, group)
    }

    /// The bitmap of groups that are backed by blocks.
    fn backed(&self) -> Sparse<'_> {
        self.marks(Mark::Backed)
    }

    /// The bitmap of groups with this mark.
    fn marks(&self, mark: Mark) -> Sparse<'_> {
        let before = self.words_before_marks(mark);
        Sparse::new(&self.words[before..][..self.geometry.group_bitmap_words()], self.pages(), before)
    }

    #[inline]
    fn words_before_marks(&self, mark: Mark) -> usize {
        self.page_words + self.bitmap_words + mark as usize * self.geometry.group_bitmap_words()
    }

    /// The bitmap of reserved pages of the bitmaps.
    fn pages(&self) -> &[AtomicU64] {
        &self.words[..self.page_words]
    }

    fn group(&self, index: usize) -> &[AtomicU64] {
        &self.words[self.words_before + index / GROUP * GROUP_WORDS..][..GROUP_WORDS]
    }
}
