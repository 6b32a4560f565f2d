//! The part of the table that there is: a bitmap of three leaves and a summary, and the records of a few ids.

use super::bitmap::Bitmap;
use super::record::Record;
use super::sparse::Sparse;
use crate::ghost::IDS;
use crate::scene::{FIRST, LEAVES, Memory, RECORD_WORDS, SUMMARIES};
use crate::sync::AtomicU64;
use crate::{Allocation, LockId, Result};

pub(crate) struct Segment {
    words: &'static [AtomicU64],
    bits: usize,
}

impl Segment {
    pub(super) fn new(memory: &'static Memory, bits: usize) -> Self {
        Self { words: &memory.words, bits }
    }

    pub(super) fn id(&self, index: usize) -> LockId {
        let _ = self;
        LockId::new(index as u32)
    }

    pub(super) fn allocated(&self) -> Bitmap<'_> {
        Bitmap::new(Sparse::new(&self.words[..LEAVES + SUMMARIES]), LEAVES, self.bits)
    }

    pub(super) fn record(&self, index: usize) -> Record<'_> {
        if !(FIRST..FIRST + IDS).contains(&index) {
            crate::coroutine::fail(format!("{index} is not one of the ids that are free at the start"));
        }
        Record::new(&self.words[LEAVES + SUMMARIES + (index - FIRST) * RECORD_WORDS..][..RECORD_WORDS])
    }

    /// As the real one, but that it tries three times.
    pub(super) fn read(&self, index: usize) -> Option<Allocation> {
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

    pub(super) fn back_group(&self, (): &(), _: usize) -> Result<()> {
        let _ = self;
        Ok(())
    }
}
