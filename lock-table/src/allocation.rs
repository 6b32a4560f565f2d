//! Allocating and freeing.

use std::collections::BTreeSet;

use crate::bitmap::Bitmap;
use crate::layout;
use crate::owner::Owner;
use crate::segment::Segment;
use crate::table::Table;
use lock_core::{Allocation, Error, ErrorKind, Generation, Label, LockId, Reconciled, Result};

impl Table {
    /// Allocates the lowest free id, as far as the hints let it see; when they show none, it looks at every id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`], [`ErrorKind::Limit`], those of [`Table::check`].
    pub fn allocate(&self, label: &Label) -> Result<LockId> {
        self.check_now_and_then()?;
        let me = self.me()?;
        for find in [Bitmap::find, Bitmap::scan] {
            for number in self.segment_numbers() {
                let segment = self.segment(number)?;
                let mut from = 0;
                while let Some(index) = find(&segment.allocated(), from) {
                    if self.try_allocate(segment, index, me, label)? {
                        return Ok(segment.id(index));
                    }
                    from = index + 1;
                }
            }
        }
        Err(ErrorKind::Exhausted { capacity: self.header.bound.limit(), allocated: self.count()? }.into())
    }

    /// Allocates this id.
    ///
    /// # Errors
    /// Those of [`Table::check`]; [`ErrorKind::OutOfRange`]; [`ErrorKind::AlreadyAllocated`], also while a living process is about to allocate it.
    pub fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.check_now_and_then()?;
        if self.try_allocate_exact(id, label)? { Ok(()) } else { Err(ErrorKind::AlreadyAllocated.into()) }
    }

    fn try_allocate_exact(&self, id: LockId, label: &Label) -> Result<bool> {
        let me = self.me()?;
        let (segment, index) = self.find(id)?;
        self.try_allocate(segment, index, me, label)
    }

    /// Claim, write, publish: that order is what makes a kill harmless.
    fn try_allocate(&self, segment: &Segment, index: usize, me: Owner, label: &Label) -> Result<bool> {
        segment.back_group(&self.file, index)?;
        let record = segment.record(index);
        if !record.claim(me, |other| self.is_gone(other)) {
            return Ok(false);
        }
        let free = !segment.allocated().get(index);
        if free {
            record.write(label, self.command());
            segment.allocated().set(index);
        }
        record.unclaim();
        Ok(free)
    }

    /// Frees an id; where a generation is given, only that allocation.
    ///
    /// # Errors
    /// Those of [`Table::check`]; [`ErrorKind::OutOfRange`]; [`ErrorKind::NotAllocated`]; [`ErrorKind::Stale`]. Then nothing changes.
    pub fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.check_now_and_then()?;
        let not_allocated = || Error::from(ErrorKind::NotAllocated);
        self.check_range(id)?;
        let (number, index) = layout::locate(id);
        if !self.has_segment(number) {
            return Err(not_allocated());
        }
        let segment = self.segment(number)?;
        if !segment.allocated().get(index) {
            return Err(not_allocated());
        }
        if generation.is_some_and(|generation| segment.record(index).generation() != generation) {
            return Err(ErrorKind::Stale.into());
        }
        if segment.allocated().clear(index) { Ok(()) } else { Err(not_allocated()) }
    }

    /// Frees every id; returns how many were allocated.
    ///
    /// # Errors
    /// Those of [`Table::check`]; what the system says.
    pub fn free_all(&self) -> Result<u64> {
        self.check_now_and_then()?;
        let mut freed = 0;
        for segment in self.present() {
            let allocated = segment?.allocated();
            freed += allocated.ones().filter(|index| allocated.clear(*index)).count() as u64;
        }
        Ok(freed)
    }

    /// How many ids are free; `None` without a bound.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the file was cut off; what the system says.
    pub fn available(&self) -> Result<Option<u64>> {
        self.check_whole()?;
        self.capacity().map(|capacity| Ok(capacity.saturating_sub(self.count()?))).transpose()
    }

    /// How many ids are allocated.
    ///
    /// # Errors
    /// What the system says.
    pub fn count(&self) -> Result<u64> {
        self.present().map(|segment| Ok(segment?.allocated().count())).sum()
    }

    /// The allocated ids, in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn allocated(&self) -> Result<Vec<Allocation>> {
        self.check_whole()?;
        let mut list = Vec::new();
        for segment in self.present() {
            let segment = segment?;
            let (bits, first) = (segment.allocated(), list.len());
            list.extend(bits.ones().filter_map(|index| segment.read(index)));
            debug_assert!(list[first..].is_sorted_by_key(|allocation| allocation.id));
        }
        Ok(list)
    }

    /// Makes these ids, and no others, the allocated ones.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`], and then nothing is changed; [`ErrorKind::Limit`], those of [`Table::check`].
    pub fn reconcile(&self, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        self.check_now_and_then()?;
        if let Some(last) = ids.last() {
            self.check_range(*last).map_err(|error| error.on(*last))?;
        }
        let mut done = Reconciled::default();
        for segment in self.present() {
            let segment = segment?;
            let bits = segment.allocated();
            let freed = bits.ones().filter(|index| !ids.contains(&segment.id(*index)) && bits.clear(*index));
            done.freed.extend(freed.map(|index| segment.id(index)));
        }
        for id in ids {
            if self.try_allocate_exact(*id, &Label::default()).map_err(|error| error.on(*id))? {
                done.claimed.push(*id);
            }
        }
        Ok(done)
    }
}
