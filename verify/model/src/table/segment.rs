//! The only segment of the table: a bitmap of three leaves and a summary, and the records of a few ids.

use real_core::LockId;

use super::layout::RECORD_WORDS;
use super::sparse::Sparse;
use crate::bitmap::{Bitmap, Levels};
use crate::bounds::{FIRST, IDS, LEAVES, SUMMARIES};
use crate::coroutine;
use crate::env::AtomicU64;
use crate::record::Record;

pub(crate) struct Segment {
    words: &'static [AtomicU64],
    levels: Levels,
    bits: usize,
}

impl Segment {
    pub(crate) fn new(words: &'static [AtomicU64], bits: usize) -> Self {
        Self { words, levels: Levels::new(LEAVES), bits }
    }

    pub(crate) fn id(&self, index: usize) -> LockId {
        let _ = self;
        LockId::new(index as u32)
    }

    pub(crate) fn allocated(&self) -> Bitmap<'_> {
        Bitmap::new(Sparse::new(&self.words[..LEAVES + SUMMARIES]), &self.levels, self.bits)
    }

    pub(crate) fn record(&self, index: usize) -> Record<'_> {
        if !(FIRST..FIRST + IDS).contains(&index) {
            coroutine::fail(format!("{index} is not an initially free id"));
        }
        Record::new(
            self.words[LEAVES + SUMMARIES + (index - FIRST) * RECORD_WORDS..].first_chunk().expect("each record is whole"),
        )
    }
}
