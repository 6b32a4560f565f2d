//! The words of the bitmap, whose pages are all reserved.

use crate::sync::AtomicU64;
use crate::sync::Ordering::SeqCst;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sparse<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Sparse<'a> {
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    pub(super) fn get(self, at: usize) -> Option<&'a AtomicU64> {
        self.words.get(at)
    }

    pub(super) fn reserved(self, at: usize) -> &'a AtomicU64 {
        &self.words[at]
    }

    pub(super) fn load(self, at: usize) -> u64 {
        self.words[at].load(SeqCst)
    }

    pub(super) fn runs(self, count: usize) -> impl Iterator<Item = (usize, &'a [AtomicU64])> {
        std::iter::once((0, &self.words[..count]))
    }
}
