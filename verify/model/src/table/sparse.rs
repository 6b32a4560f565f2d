//! The words of the bitmap. All of their pages are reserved.

use std::ops::Range;
use std::sync::atomic::Ordering::SeqCst;

use crate::env::AtomicU64;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sparse<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Sparse<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    pub(crate) fn get(self, at: usize) -> Option<&'a AtomicU64> {
        self.words.get(at)
    }

    pub(crate) fn reserved(self, at: usize) -> &'a AtomicU64 {
        &self.words[at]
    }

    pub(crate) fn load(self, at: usize) -> u64 {
        self.words[at].load(SeqCst)
    }

    pub(crate) fn runs(self, range: Range<usize>) -> impl Iterator<Item = (usize, &'a [AtomicU64])> {
        std::iter::once((range.start, &self.words[range]))
    }
}
