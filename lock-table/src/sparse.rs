//! Words of a mapped file of which some pages have no blocks yet. Those are never touched, not even by reading: on a full file system
//! that is a SIGBUS.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, SeqCst};

/// Words in a page.
pub(crate) const PAGE_WORDS: usize = 512;
const BITS: usize = u64::BITS as usize;

/// A view of words, with a bit for each page that is reserved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sparse<'a> {
    words: &'a [AtomicU64],
    pages: &'a [AtomicU64],
    /// How many words come before `words` in the pages that the bits are for.
    before: usize,
}

impl<'a> Sparse<'a> {
    /// Words of which those are reserved whose page has its bit set. The first one has the number `before` in these pages.
    pub(crate) fn new(words: &'a [AtomicU64], pages: &'a [AtomicU64], before: usize) -> Self {
        Self { words, pages, before }
    }

    /// Words that are all reserved.
    #[cfg(test)]
    pub(crate) fn whole(words: &'a [AtomicU64]) -> Self {
        static EACH: [AtomicU64; 16] = [const { AtomicU64::new(u64::MAX) }; 16];
        Self::new(words, &EACH, 0)
    }

    /// A word whose page is reserved.
    pub(crate) fn get(self, at: usize) -> Option<&'a AtomicU64> {
        self.is_reserved(at).then(|| &self.words[at])
    }

    /// The same where the caller has reserved the page.
    pub(crate) fn reserved(self, at: usize) -> &'a AtomicU64 {
        self.get(at).expect("the page was reserved before")
    }

    /// The value of a word: 0 where the page is not reserved.
    pub(crate) fn load(self, at: usize) -> u64 {
        self.get(at).map_or(0, |word| word.load(SeqCst))
    }

    /// The reserved ones of the first `count` words, in runs of at most a page, with the number of the first word of each.
    pub(crate) fn runs(self, count: usize) -> impl Iterator<Item = (usize, &'a [AtomicU64])> {
        let mut from = 0;
        std::iter::from_fn(move || {
            while from < count {
                let at = from;
                from = count.min((self.page(at) + 1) * PAGE_WORDS - self.before);
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
    fn runs_are_the_words_of_reserved_pages() {
        let words: Vec<_> = (0..2000).map(|number| AtomicU64::new(number + 1)).collect();
        let pages = [AtomicU64::new(0b1010)];
        let sparse = Sparse::new(&words, &pages, 100);
        let runs = |count| sparse.runs(count).map(|(first, words)| (first, words.len())).collect::<Vec<_>>();
        assert_eq!(runs(2000), [(412, 512), (1436, 512)]);
        assert_eq!(runs(1500), [(412, 512), (1436, 64)]);
        assert_eq!(runs(412), []);
        assert_eq!([411, 412, 923, 924].map(|at| sparse.load(at)), [0, 413, 924, 0]);
    }
}
