//! The part of the table that there is: a bitmap with a summary, and the records of a few ids.

use std::sync::atomic::AtomicU64;

use super::bitmap::Bitmap;
use super::record::Record;
use super::sparse::Sparse;
use crate::{Allocation, LockId, Result};

const LEAVES: usize = 2;
const SUMMARIES: usize = 1;
const IDS: usize = 66;
const RECORD_WORDS: usize = 16;

pub(super) struct Segment {
    words: Vec<AtomicU64>,
}

impl Segment {
    pub(super) fn new() -> Self {
        let words = LEAVES + SUMMARIES + IDS * RECORD_WORDS;
        Self { words: std::iter::repeat_with(AtomicU64::default).take(words).collect() }
    }

    pub(super) fn ids(&self) -> u64 {
        let _ = self;
        IDS as u64
    }

    pub(super) fn id(&self, index: usize) -> LockId {
        let _ = self;
        LockId::new(index as u32)
    }

    pub(super) fn allocated(&self) -> Bitmap<'_> {
        Bitmap::new(Sparse::new(&self.words[..LEAVES + SUMMARIES]), LEAVES, IDS)
    }

    pub(super) fn record(&self, index: usize) -> Record<'_> {
        Record::new(&self.words[LEAVES + SUMMARIES + index * RECORD_WORDS..][..RECORD_WORDS])
    }

    /// As the real one.
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
