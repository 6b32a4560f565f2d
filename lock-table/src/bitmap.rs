//! The bitmap of allocated ids, with summary levels for finding a free id in constant time.
//!
//! The lowest level is authoritative. In each level above it, a set bit is a hint that a word of the level below is full. Searches set
//! the hints, and a bit that is cleared removes those above it. A wrong hint remains only when a process is killed between two steps. A
//! full scan repairs it.

use std::sync::atomic::Ordering::SeqCst;

use crate::sparse::Sparse;
use crate::sys;

const BITS: usize = u64::BITS as usize;
const FULL: u64 = u64::MAX;

/// A view of the words of a bitmap: all levels in sequence, starting with the lowest.
///
/// A word whose page is not reserved is not accessed and counts as 0, because such a page has no set bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmap<'a> {
    words: Sparse<'a>,
    levels: &'a Levels,
    /// The number of valid bits of the lowest level.
    bits: usize,
}

impl<'a> Bitmap<'a> {
    /// Creates a view of the words of these levels, of which the first `bits` bits are valid.
    ///
    /// At least one is. Invalid bits are never set, so a word with invalid bits is not full, and no hint depends on `bits`. Views with
    /// different numbers of bits can therefore be used at the same time.
    pub(crate) fn new(words: Sparse<'a>, levels: &'a Levels, bits: usize) -> Self {
        debug_assert!(bits > 0);
        Self { words, levels, bits }
    }

    pub(crate) fn get(&self, index: usize) -> bool {
        self.words.load(index / BITS) & bit(index) != 0
    }

    /// Returns a word of the lowest level without its invalid bits.
    pub(crate) fn word(self, at: usize) -> u64 {
        self.words.load(at) & self.valid_mask(at)
    }

    /// Returns true if all valid bits of a word of the lowest level are set.
    pub(crate) fn is_full(self, at: usize) -> bool {
        self.word(at) == self.valid_mask(at)
    }

    fn valid_mask(self, at: usize) -> u64 {
        if at + 1 == self.valid_words() { self.last_mask() } else { FULL }
    }

    /// Returns the indexes of the word of this bit and of the hints above it.
    ///
    /// Their pages must be reserved before the bit is set.
    pub(crate) fn words_of(self, index: usize) -> impl Iterator<Item = usize> {
        let mut at = index;
        self.levels.starts().iter().map(move |start| {
            at /= BITS;
            start + at
        })
    }

    /// Sets a bit. Returns true if it was clear.
    pub(crate) fn set(&self, index: usize) -> bool {
        let word = self.words.reserved(index / BITS);
        word.fetch_or(bit(index), SeqCst) & bit(index) == 0
    }

    /// Clears a bit. Returns true if it was set.
    pub(crate) fn clear(&self, index: usize) -> bool {
        let Some(word) = self.words.get(index / BITS) else { return false };
        let before = word.fetch_and(!bit(index), SeqCst);
        if before & bit(index) != 0 {
            self.clear_hints(0, index / BITS);
        }
        before & bit(index) != 0
    }

    /// Returns the number of set bits.
    pub(crate) fn count(&self) -> u64 {
        let last = self.valid_words() - 1;
        let whole: u64 = self.words.runs(0..last).map(|(_, words)| sys::count_ones(words)).sum();
        whole + u64::from((self.words.load(last) & self.last_mask()).count_ones())
    }

    /// Returns the set bits in ascending order. Each word is read when the iterator reaches it.
    pub(crate) fn ones(self) -> impl Iterator<Item = usize> + 'a {
        self.ones_from(0)
    }

    /// Returns the set bits at or after `from` in ascending order, as [`Bitmap::ones`] does.
    pub(crate) fn ones_from(self, from: usize) -> impl Iterator<Item = usize> + 'a {
        let bits = self.valid_bits(from / BITS).flat_map(|(at, word)| ones(word).map(move |bit| at * BITS + bit));
        bits.skip_while(move |index| *index < from)
    }

    /// Returns the words of the lowest level from this one on, with their indexes.
    ///
    /// Invalid bits, which a damaged store may have set, are masked.
    fn valid_bits(self, from: usize) -> impl Iterator<Item = (usize, u64)> + 'a {
        let (last, mask) = (self.valid_words() - 1, self.last_mask());
        let words = self.words.runs(from..last + 1).flat_map(|(first, words)| (first..).zip(words));
        words.map(move |(at, word)| (at, word.load(SeqCst) & if at == last { mask } else { FULL }))
    }

    /// Returns the number of words of the lowest level that contain valid bits.
    fn valid_words(self) -> usize {
        self.bits.div_ceil(BITS)
    }

    /// Returns the mask of the valid bits in the last of these words.
    fn last_mask(self) -> u64 {
        FULL >> (self.valid_words() * BITS - self.bits)
    }

    /// Returns true if all bits are set, according to the hints.
    #[inline]
    pub(crate) fn seems_full(&self) -> bool {
        let top = self.levels.top;
        self.words.load(self.levels.all[top]).trailing_ones() as usize >= self.bits_of(top)
    }

    /// Returns the number of valid bits of a level.
    fn bits_of(&self, level: usize) -> usize {
        ((self.bits - 1) >> (level * BITS.ilog2() as usize)) + 1
    }

    /// Returns the lowest clear bit at or after `from`, according to the hints.
    ///
    /// Sets the missing hints of the full words that it reads. A thread that fills a word leaves that to the next search. So the bit that
    /// makes the bitmap full can be cleared and set again without changes of hints.
    pub(crate) fn find(&self, from: usize) -> Option<usize> {
        let Levels { all, top } = self.levels;
        // A search from 0 starts at the top level, so that one load detects a full bitmap.
        let (mut number, mut at) = (if from == 0 { *top } else { 0 }, from);
        loop {
            let bits = self.bits_of(number);
            if at >= bits {
                return None;
            }
            let (present, below) = (self.words.load(all[number] + at / BITS), bit(at) - 1);
            let word = present | below;
            if word != FULL {
                at = at / BITS * BITS + word.trailing_ones() as usize;
                if at >= bits || number == 0 {
                    return (at < bits).then_some(at);
                }
                number -= 1;
                at *= BITS;
            } else if number == *top {
                at = (at / BITS + 1) * BITS;
            } else {
                if present == FULL {
                    self.set_hints(number, at / BITS);
                }
                number += 1;
                at = at / BITS + 1;
            }
        }
    }

    /// Returns the lowest clear bit at or after `from`, without using the hints.
    ///
    /// Repairs the wrong hints of the words that it reads.
    pub(crate) fn scan(&self, from: usize) -> Option<usize> {
        for at in from / BITS..self.valid_words() {
            let below = if at == from / BITS { bit(from) - 1 } else { 0 };
            let word = self.words.load(at);
            if word != FULL {
                self.clear_hints(0, at);
            }
            if word | below != FULL {
                let index = at * BITS + (word | below).trailing_ones() as usize;
                return (index < self.bits).then_some(index);
            }
        }
        None
    }

    /// Sets the hint for a word of a level that was full when the caller read it.
    ///
    /// If that fills the word of the hint, continues on the next level.
    fn set_hints(&self, mut level: usize, mut at: usize) {
        while level < self.levels.top {
            // A damaged store may have a full word below a page that is not reserved.
            let Some(hint) = self.words.get(self.levels.all[level + 1] + at / BITS) else { return };
            let word = hint.fetch_or(bit(at), SeqCst) | bit(at);
            // Another thread may have cleared a bit before this hint was set, and then it has not cleared the hint. Both threads write
            // before they read, so that at least one of them sees the other's write.
            if self.words.load(self.levels.all[level] + at) != FULL {
                return self.clear_hints(level, at);
            }
            if word != FULL {
                return;
            }
            (level, at) = (level + 1, at / BITS);
        }
    }

    /// Clears the hints above a word of a level that is not full.
    fn clear_hints(&self, level: usize, mut at: usize) {
        // Each level is read after the one below was changed: another thread that saw the hint there may have set one here.
        for above in &self.levels.starts()[level + 1..] {
            let word = above + at / BITS;
            if self.words.load(word) & bit(at) != 0 {
                self.words.reserved(word).fetch_and(!bit(at), SeqCst);
            }
            at /= BITS;
        }
    }
}

/// The positions of the levels of a bitmap in its words. They do not depend on the number of valid bits.
#[derive(Debug)]
pub(crate) struct Levels {
    /// The first word of each level.
    all: [usize; MAX_LEVELS],
    /// The highest level. It has one word.
    top: usize,
}

/// The number of levels for 2³⁶ bits.
const MAX_LEVELS: usize = 6;

impl Levels {
    /// Returns the levels of a bitmap with `leaves` words at the lowest level.
    pub(crate) fn new(leaves: usize) -> Self {
        let mut levels = Self { all: [0; MAX_LEVELS], top: 0 };
        let mut words = leaves;
        while words > 1 {
            levels.all[levels.top + 1] = levels.all[levels.top] + words;
            levels.top += 1;
            words = words.div_ceil(BITS);
        }
        levels
    }

    /// Returns the first word of each level, from the lowest on.
    fn starts(&self) -> &[usize] {
        &self.all[..=self.top]
    }
}

pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (word != 0).then_some(word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(at)
    })
}

const fn bit(index: usize) -> u64 {
    1 << (index % BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicU64;

    fn words(leaves: usize) -> Vec<AtomicU64> {
        let (mut level, mut all) = (leaves, leaves);
        while level > 1 {
            level = level.div_ceil(BITS);
            all += level;
        }
        (0..all).map(|_| AtomicU64::new(0)).collect()
    }

    #[rstest]
    #[case(1, 64)]
    #[case(1, 5)]
    #[case(16, 1024)]
    #[case(16, 1000)]
    #[case(130, 130 * 64)]
    #[case(130, 8001)]
    #[case(4160, 4160 * 64 - 3)]
    fn find_returns_the_lowest_clear_bit(#[case] leaves: usize, #[case] bits: usize) {
        let (words, levels) = (words(leaves), Levels::new(leaves));
        let map = Bitmap::new(Sparse::whole(&words), &levels, bits);
        for expected in 0..bits {
            assert_eq!(map.find(0), Some(expected));
            assert!(map.set(expected));
            assert!(!map.set(expected));
        }
        assert_eq!((map.find(0), map.scan(0)), (None, None));
        assert_eq!(map.count(), bits as u64);
        for index in (0..bits).step_by(97) {
            assert!(map.clear(index) && !map.clear(index));
            assert_eq!(map.find(0), Some(index));
            assert!(map.set(index));
        }
    }

    #[test]
    fn find_and_scan_agree_with_a_btree_set() {
        let words = words(70);
        let levels = Levels::new(70);
        let map = Bitmap::new(Sparse::whole(&words), &levels, 4400);
        let mut free: BTreeSet<usize> = (0..4400).collect();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (random >> 33) as usize % 4400;
            if random >> 63 == 0 || free.len() > 500 {
                assert_eq!(map.set(index), free.remove(&index));
            } else {
                assert_eq!(map.clear(index), free.insert(index));
            }
            assert_eq!(map.find(index), free.range(index..).next().copied());
            assert_eq!(map.scan(index), map.find(index));
            assert_eq!(map.ones_from(index).next(), (index..4400).find(|index| !free.contains(index)));
        }
        assert_eq!(map.count() as usize, 4400 - free.len());
        assert_eq!(map.ones().count(), 4400 - free.len());
    }

    #[test]
    fn scan_ignores_and_repairs_the_wrong_hint_of_a_killed_process() {
        let words = words(128);
        let levels = Levels::new(128);
        let map = Bitmap::new(Sparse::whole(&words), &levels, 128 * BITS);
        (0..128 * BITS).for_each(|index| assert!(map.set(index)));
        assert_eq!(map.find(0), None);
        // As if a process was killed after it cleared the bit and before it cleared the hint.
        words[100].fetch_and(!(1 << 7), SeqCst);
        let lost = 100 * BITS + 7;
        assert_eq!(map.find(0), None);
        assert_eq!(map.scan(0), Some(lost));
        assert_eq!(map.find(0), Some(lost));
    }

    #[test]
    fn invalid_bits_are_neither_counted_nor_listed() {
        let words = words(16);
        words.iter().for_each(|word| word.store(FULL, SeqCst));
        let levels = Levels::new(16);
        for bits in [1, 63, 64, 65, 1023, 1024] {
            let map = Bitmap::new(Sparse::whole(&words), &levels, bits);
            assert_eq!(map.count(), bits as u64);
            assert!(map.ones().eq(0..bits));
        }
    }

    #[test]
    fn bits_that_become_valid_are_found_with_the_same_words() {
        const LEAVES: usize = 2 * 64 * 64;
        let (words, levels) = (words(LEAVES), Levels::new(LEAVES));
        let view = |bits| Bitmap::new(Sparse::whole(&words), &levels, bits);
        let mut before = 0;
        for bits in [1, 63, 64, 65, 100, 64 * 64, 64 * 64 + 1, 64 * 64 * 64, 64 * 64 * 64 + 64, LEAVES * BITS] {
            let map = view(bits);
            assert_eq!((map.find(0), map.scan(0), map.seems_full()), (Some(before), Some(before), false), "{bits}");
            assert!((before..bits).all(|index| map.set(index)));
            assert_eq!((map.find(0), map.scan(0), map.count()), (None, None, bits as u64), "{bits}");
            // A bit that is cleared by a view with fewer or with more bits is found by both.
            for (clearing, finding) in [(before.max(1), bits), (bits, before.max(1))] {
                assert!(view(clearing).clear(0));
                assert_eq!((view(clearing).find(0), view(finding).find(0)), (Some(0), Some(0)), "{bits}");
                assert!(view(finding).set(0) && view(clearing).find(0).is_none() && view(finding).find(0).is_none());
            }
            before = bits;
        }
        assert!(view(LEAVES * BITS).seems_full());
    }

    #[test]
    fn an_unreserved_page_counts_as_clear_and_is_not_accessed() {
        const LEAVES: usize = 64 * 64;
        // All bits are set, so that a read of an unreserved page fails the assertions.
        let words: Vec<_> = words(LEAVES).iter().map(|_| AtomicU64::new(FULL)).collect();
        let pages = [AtomicU64::new(0)];
        let levels = Levels::new(LEAVES);
        let map = Bitmap::new(Sparse::new(&words, &pages, 0), &levels, LEAVES * BITS);
        assert_eq!((map.count(), map.ones().next(), map.find(0), map.scan(70)), (0, None, Some(0), Some(70)));
        assert!(!map.get(5000) && !map.clear(5000));
        let index = 700 * BITS + 3;
        for word in map.words_of(index) {
            let page = word / 512;
            if pages[0].fetch_or(1 << page, SeqCst) & (1 << page) == 0 {
                words.iter().skip(page * 512).take(512).for_each(|word| word.store(0, SeqCst));
            }
        }
        assert!(map.set(index) && map.get(index));
        assert!(map.ones().eq([index]));
        assert_eq!((map.count(), map.find(0), map.find(index), map.scan(index)), (1, Some(0), Some(index + 1), Some(index + 1)));
    }

    #[test]
    fn a_search_sets_the_hints_that_filled_words_lack() {
        const LEAVES: usize = 2 * 64 * 64;
        let (words, levels) = (words(LEAVES), Levels::new(LEAVES));
        let map = Bitmap::new(Sparse::whole(&words), &levels, LEAVES * BITS);
        (0..LEAVES * BITS).for_each(|index| assert!(map.set(index)));
        assert!(!map.seems_full() && words[LEAVES..].iter().all(|word| word.load(SeqCst) == 0));
        assert_eq!(map.find(0), None);
        assert!(map.seems_full());
        // The last free bit is cleared and set again, and then no hint changes before the next search.
        assert!(map.clear(5000) && map.set(5000));
        assert!(!map.seems_full());
        assert_eq!((map.find(0), map.seems_full()), (None, true));
        assert!(map.clear(LEAVES * BITS - 1));
        assert_eq!((map.find(0), map.find(5000)), (Some(LEAVES * BITS - 1), Some(LEAVES * BITS - 1)));
    }

    #[test]
    fn a_search_that_sets_a_hint_too_late_clears_it_on_all_levels() {
        const LEAVES: usize = 2 * 64 * 64;
        let (words, levels) = (words(LEAVES), Levels::new(LEAVES));
        let map = Bitmap::new(Sparse::whole(&words), &levels, LEAVES * BITS);
        (0..LEAVES * BITS).for_each(|index| assert!(map.set(index)));
        for at in [0, 63, 64, 5000, LEAVES - 1] {
            assert_eq!(map.find(0), None);
            // As if a search has read the full word, another thread clears a bit and finds no hint, and then the search continues. In
            // between, a third thread has seen its hint and set those above.
            words[at].fetch_and(!(1 << 7), SeqCst);
            map.set_hints(0, at);
            assert_eq!(map.find(0), Some(at * BITS + 7));
            assert!(map.set(at * BITS + 7));
        }
    }

    #[test]
    fn concurrent_changes_and_searches_leave_no_wrong_hint() {
        const BITS_OF_MAP: usize = 65 * BITS;
        let words = words(65);
        let levels = Levels::new(65);
        let map = Bitmap::new(Sparse::whole(&words), &levels, BITS_OF_MAP);
        for round in 0..20 {
            map.ones().for_each(|index| assert!(map.clear(index)));
            (0..BITS_OF_MAP).for_each(|index| assert!(map.set(index)));
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    scope.spawn(move || {
                        for step in 0..2_000 {
                            // Mostly, all threads change a few words, so that these become full again and again.
                            let index = (step * 7 + thread + round * BITS) % (if step % 8 == 0 { BITS_OF_MAP } else { BITS });
                            if map.clear(index) {
                                assert!(step % 3 == 0 || map.find(0).is_none_or(|found| found < BITS_OF_MAP));
                                assert!(map.set(index));
                            }
                            map.find(0);
                        }
                        // Each thread leaves one bit clear.
                        assert!(map.clear((thread + 1) * 16 * BITS - 1));
                    });
                }
            });
            // A search finds the clear bits in order, so no hint hides one of them.
            for thread in 0..4 {
                let index = (thread + 1) * 16 * BITS - 1;
                assert_eq!(map.find(0), Some(index), "in round {round}");
                assert!(map.set(index));
            }
            assert_eq!(map.find(0), None);
        }
        for index in 0..BITS_OF_MAP {
            assert!(map.clear(index));
            assert_eq!(map.find(0), Some(index));
            assert!(map.set(index));
        }
    }
}
