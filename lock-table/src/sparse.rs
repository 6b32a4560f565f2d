//! Words of a mapped file with pages that have no blocks yet.
//!
//! Such pages are neither written nor read, because on a full file system each access to them causes a SIGBUS.

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, SeqCst};

/// Words in a page.
pub(crate) const PAGE_WORDS: usize = 512;
const BITS: usize = u64::BITS as usize;

/// A view of words with a bitmap of their reserved pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sparse<'a> {
    words: &'a [AtomicU64],
    pages: &'a [AtomicU64],
    /// The number of words before `words` in the pages of the bitmap.
    before: usize,
}

impl<'a> Sparse<'a> {
    /// Creates a view of words whose reserved pages have a set bit in `pages`.
    ///
    /// `before` words precede the first word in these pages.
    pub(crate) fn new(words: &'a [AtomicU64], pages: &'a [AtomicU64], before: usize) -> Self {
        Self { words, pages, before }
    }

    /// Creates a view of words whose pages are all reserved.
    #[cfg(test)]
    pub(crate) fn whole(words: &'a [AtomicU64]) -> Self {
        static EACH: [AtomicU64; 16] = [const { AtomicU64::new(u64::MAX) }; 16];
        Self::new(words, &EACH, 0)
    }

    /// Returns a word, or `None` if its page is not reserved.
    pub(crate) fn get(self, at: usize) -> Option<&'a AtomicU64> {
        self.is_reserved(at).then(|| &self.words[at])
    }

    /// Returns a word whose page the caller has reserved.
    ///
    /// # Panics
    /// If the page is not reserved.
    pub(crate) fn reserved(self, at: usize) -> &'a AtomicU64 {
        self.get(at).expect("the caller must reserve the page first")
    }

    /// Returns the value of a word, or 0 if its page is not reserved.
    pub(crate) fn load(self, at: usize) -> u64 {
        self.get(at).map_or(0, |word| word.load(SeqCst))
    }

    /// Returns the reserved words in this range, in runs of at most one page.
    ///
    /// Each run has the index of its first word.
    pub(crate) fn runs(self, range: Range<usize>) -> impl Iterator<Item = (usize, &'a [AtomicU64])> {
        let mut from = range.start;
        std::iter::from_fn(move || {
            while from < range.end {
                let at = from;
                from = range.end.min((self.page(at) + 1) * PAGE_WORDS - self.before);
                if self.is_reserved(at) {
                    return Some((at, &self.words[at..from]));
                }
            }
            None
        })
    }

    fn is_reserved(self, at: usize) -> bool {
        let page = self.page(at);
        self.pages[page / BITS].load(Acquire) & (1 << (page % BITS)) != 0
    }

    fn page(self, at: usize) -> usize {
        (self.before + at) / PAGE_WORDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_contain_the_words_of_reserved_pages() {
        let words: Vec<_> = (0..2000).map(|number| AtomicU64::new(number + 1)).collect();
        let pages = [AtomicU64::new(0b1010)];
        let sparse = Sparse::new(&words, &pages, 100);
        let runs = |range| sparse.runs(range).map(|(first, words)| (first, words.len())).collect::<Vec<_>>();
        assert_eq!(runs(0..2000), [(412, 512), (1436, 512)]);
        assert_eq!(runs(0..1500), [(412, 512), (1436, 64)]);
        assert_eq!(runs(500..1500), [(500, 424), (1436, 64)]);
        assert_eq!(runs(0..412), []);
        assert_eq!([411, 412, 923, 924].map(|at| sparse.load(at)), [0, 413, 924, 0]);
    }
}
