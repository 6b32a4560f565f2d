//! The only segment of the table: a bitmap with a summary, and the records of a few ids.

use real_core::LockId;

use super::layout::RECORD_WORDS;
use super::sparse::Sparse;
use crate::bitmap::{Bitmap, Levels};
use crate::env::AtomicU64;
use crate::record::Record;

const LEAVES: usize = 2;
const SUMMARIES: usize = 1;
const IDS: usize = 66;

pub(crate) struct Segment {
    words: Vec<AtomicU64>,
    levels: Levels,
}

impl Segment {
    pub(crate) fn new() -> Self {
        let words = LEAVES + SUMMARIES + IDS * RECORD_WORDS;
        let words = std::iter::repeat_with(AtomicU64::default).take(words).collect();
        Self { words, levels: Levels::new(LEAVES) }
    }

    pub(crate) fn ids(&self) -> u64 {
        let _ = self;
        IDS as u64
    }

    pub(crate) fn id(&self, index: usize) -> LockId {
        let _ = self;
        LockId::new(index as u32)
    }

    pub(crate) fn allocated(&self) -> Bitmap<'_> {
        Bitmap::new(Sparse::new(&self.words[..LEAVES + SUMMARIES]), &self.levels, IDS)
    }

    pub(crate) fn record(&self, index: usize) -> Record<'_> {
        Record::new(self.words[LEAVES + SUMMARIES + index * RECORD_WORDS..].first_chunk().expect("each record is whole"))
    }
}
