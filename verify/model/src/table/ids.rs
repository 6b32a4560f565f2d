//! The part of a stand-in table that does not depend on its threads: its bound, its only segment, and reading records.

use std::fmt;

use real_core::{Allocation, Error, LockId, Result};

use super::segment::Segment;
use super::{Table, layout};
use crate::death::Cause;
use crate::env::AtomicU64;
use crate::owner::Owner;

pub(crate) struct Header {
    pub(crate) bound: Bound,
}

pub(crate) struct Bound(pub(super) u64);

impl Bound {
    pub(crate) fn limit(&self) -> u64 {
        self.0
    }
}

#[allow(dead_code, reason = "not every check calls all of it")]
impl Table {
    pub(crate) fn claim(&self, word: &AtomicU64, me: Owner) -> bool {
        me.claim(word, |other| self.is_gone(other))
    }

    pub(crate) fn cause(&self, _: Owner) -> Cause {
        let _ = self;
        Cause::ProcessEnded
    }

    pub(crate) fn limit(&self) -> u64 {
        self.header.bound.limit()
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        Some(self.limit())
    }

    pub(crate) fn check_now_and_then(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn check_whole(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn check_range(&self, id: LockId) -> Result<()> {
        let capacity = self.limit();
        if u64::from(id.get()) < capacity { Ok(()) } else { Err(Error::out_of_range(capacity)) }
    }

    pub(crate) fn find(&self, id: LockId) -> Result<(&Segment, usize)> {
        self.check_range(id)?;
        let (number, index) = layout::locate(id);
        Ok((self.segment(number)?, index))
    }

    pub(crate) fn segment_numbers(&self) -> impl Iterator<Item = usize> {
        0..1
    }

    pub(crate) fn has_segment(&self, number: usize) -> bool {
        number == 0
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = Result<&Segment>> {
        self.segment_numbers().map(|number| self.segment(number))
    }

    pub(crate) fn present_from(&self, from: LockId) -> impl Iterator<Item = Result<(&Segment, usize)>> {
        let (_, index) = layout::locate(from);
        self.present().map(move |segment| Ok((segment?, index)))
    }

    pub(crate) fn first_with_room(&self) -> usize {
        usize::from(self.segment.allocated().seems_full())
    }

    pub(crate) fn prefetch_record(&self, _: LockId) {
        let _ = self;
    }

    pub(crate) fn segment(&self, _: usize) -> Result<&Segment> {
        Ok(&self.segment)
    }
}

impl Segment {
    /// Does nothing: the words are not a mapping.
    pub(crate) fn unmap_read(&self, _: std::ops::Range<usize>, _: usize) {
        let _ = self;
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

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}
