//! The only segment of the table: a bitmap of three leaves and a summary, and the records of a few ids.

use real_core::{Allocation, LockId, Result};

use super::layout::RECORD_WORDS;
use super::sparse::Sparse;
use crate::bitmap::Bitmap;
use crate::bounds::{FIRST, IDS, LEAVES, SUMMARIES};
use crate::coroutine;
use crate::env::AtomicU64;
use crate::record::Record;

pub(crate) struct Segment {
    words: &'static [AtomicU64],
    bits: usize,
}

impl Segment {
    pub(crate) fn new(words: &'static [AtomicU64], bits: usize) -> Self {
        Self { words, bits }
    }

    pub(crate) fn id(&self, index: usize) -> LockId {
        let _ = self;
        LockId::new(index as u32)
    }

    pub(crate) fn allocated(&self) -> Bitmap<'_> {
        Bitmap::new(Sparse::new(&self.words[..LEAVES + SUMMARIES]), LEAVES, self.bits)
    }

    pub(crate) fn record(&self, index: usize) -> Record<'_> {
        if !(FIRST..FIRST + IDS).contains(&index) {
            coroutine::fail(format!("{index} is not an initially free id"));
        }
        Record::new(&self.words[LEAVES + SUMMARIES + (index - FIRST) * RECORD_WORDS..][..RECORD_WORDS])
    }

    /// Does the same as the real function, with three attempts.
    pub(crate) fn read(&self, index: usize) -> Option<Allocation> {
        for _ in 0..3 {
            if !self.allocated().get(index) {
                return None;
            }
            if let Some(allocation) = self.record(index).read(self.id(index)) {
                return Some(allocation);
            }
        }
        Some(Allocation::new(self.id(index)))
    }

    pub(crate) fn back_group(&self, (): &(), _: usize) -> Result<()> {
        let _ = self;
        Ok(())
    }
}
