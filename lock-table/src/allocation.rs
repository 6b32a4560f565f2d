//! Allocation of ids: allocating, freeing, counting and listing.

use std::collections::BTreeMap;

use crate::bitmap::Bitmap;
use crate::layout;
use crate::owner::Owner;
use crate::record::{Allocator, NO_NAME, TEMPORARY};
use crate::segment::Segment;
use crate::table::Table;
use lock_core::{Allocation, Error, Generation, Label, LockId, Reconciled, Result};

/// The number of ids by which [`Table::reconcile`] prefetches records in advance.
const PREFETCHED: usize = 8;

impl Table {
    /// Allocates the lowest free id according to the hints. If the hints show no free id, scans all ids.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](lock_core::ErrorKind::Exhausted) when no id is free;
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit); those of [`Table::check`].
    pub fn allocate(&self, label: &Label) -> Result<LockId> {
        self.allocate_tagged(label, NO_NAME)
    }

    /// Allocates an id as [`Table::allocate`] does, for as long as this process has the table open. See [`Table::reclaim`].
    ///
    /// # Errors
    /// As [`Table::allocate`].
    pub fn allocate_temporary(&self, label: &Label) -> Result<LockId> {
        self.allocate_tagged(label, TEMPORARY)
    }

    fn allocate_tagged(&self, label: &Label, tag: u8) -> Result<LockId> {
        self.check_now_and_then()?;
        let (me, allocator) = (self.current_owner()?, self.allocator());
        let first = self.first_with_room();
        for (find, from) in [(Bitmap::find as fn(&_, _) -> _, first), (Bitmap::scan, 0)] {
            for number in self.segment_numbers().skip(from) {
                let segment = self.segment(number)?;
                let mut from = 0;
                while let Some(index) = find(&segment.allocated(), from) {
                    if self.try_allocate(segment, index, me, label, tag, &allocator)?.is_some() {
                        return Ok(segment.id(index));
                    }
                    from = index + 1;
                }
            }
        }
        Err(Error::exhausted(self.limit(), self.count()?))
    }

    /// Allocates this id, if it is free.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange);
    /// [`ErrorKind::AlreadyAllocated`](lock_core::ErrorKind::AlreadyAllocated) when the id is allocated, or while a live thread is
    /// allocating it; those of [`Table::check`].
    pub fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.check_now_and_then()?;
        let (me, allocator) = (self.current_owner()?, self.allocator());
        if self.try_allocate_exact(id, me, label, &allocator)? { Ok(()) } else { Err(Error::already_allocated()) }
    }

    fn try_allocate_exact(&self, id: LockId, me: Owner, label: &Label, allocator: &Allocator) -> Result<bool> {
        let (segment, index) = self.find(id)?;
        Ok(self.try_allocate(segment, index, me, label, NO_NAME, allocator)?.is_some())
    }

    /// Returns this process as the allocator of ids, now.
    pub(crate) fn allocator(&self) -> Allocator {
        Allocator::new(self.birth(), self.command())
    }

    /// Allocates an id, if it is free and no live thread is allocating it. Returns the generation of the allocation.
    ///
    /// The order is: claim the record, write it, set the bit. A process that is killed in between leaves a free id.
    pub(crate) fn try_allocate(
        &self,
        segment: &Segment,
        index: usize,
        me: Owner,
        label: &Label,
        tag: u8,
        allocator: &Allocator,
    ) -> Result<Option<Generation>> {
        // Without a claim: if the id is freed now, another thread that needs a free id would find it claimed.
        let bits = segment.allocated();
        if bits.get(index) {
            return Ok(None);
        }
        segment.back_group(&self.file, index)?;
        let record = segment.record(index);
        if !record.claim(me, |other| self.is_gone(other)) {
            return Ok(None);
        }
        let mut allocated = None;
        let free = !bits.get(index);
        if free {
            allocated = Some(record.write(label, tag, allocator));
            bits.set(index);
        }
        record.unclaim();
        Ok(allocated)
    }

    /// Frees an id. If a generation is given, the id must have that generation.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange);
    /// [`ErrorKind::NotAllocated`](lock_core::ErrorKind::NotAllocated); [`ErrorKind::Stale`](lock_core::ErrorKind::Stale) when the
    /// generation is another one; those of
    /// [`Table::check`]. After an error nothing has changed.
    pub fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.check_now_and_then()?;
        let not_allocated = || Error::not_allocated();
        self.check_range(id)?;
        let (number, index) = layout::locate(id);
        if !self.has_segment(number) {
            return Err(not_allocated());
        }
        let segment = self.segment(number)?;
        let bits = segment.allocated();
        if !bits.get(index) {
            return Err(not_allocated());
        }
        if generation.is_some_and(|generation| segment.record(index).generation() != generation) {
            return Err(Error::stale());
        }
        if bits.clear(index) { Ok(()) } else { Err(not_allocated()) }
    }

    /// Frees every id, and returns the number of ids that were allocated.
    ///
    /// # Errors
    /// Those of [`Table::check`].
    pub fn free_all(&self) -> Result<u64> {
        self.check_now_and_then()?;
        let mut freed = 0;
        for segment in self.present() {
            let allocated = segment?.allocated();
            freed += allocated.ones().filter(|index| allocated.clear(*index)).count() as u64;
        }
        Ok(freed)
    }

    /// Returns the number of free ids, or `None` if there is no bound.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file was truncated;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn available(&self) -> Result<Option<u64>> {
        self.check_whole()?;
        self.capacity().map(|capacity| Ok(capacity.saturating_sub(self.count()?))).transpose()
    }

    /// Returns the number of allocated ids.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file was truncated;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn count(&self) -> Result<u64> {
        self.present().map(|segment| Ok(segment?.allocated().count())).sum()
    }

    /// Returns the allocated ids in ascending order.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file was truncated;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn allocated(&self) -> Result<Vec<Allocation>> {
        self.allocated_from(LockId::new(0), usize::MAX)
    }

    /// Returns the first `limit` allocated ids from `from` on, in ascending order.
    ///
    /// # Errors
    /// As [`Table::allocated`].
    pub fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        self.check_whole()?;
        let mut list = Vec::new();
        for place in self.present_from(from) {
            let (segment, index) = place?;
            let mut last = index;
            let allocations = segment.allocated().ones_from(index).filter_map(|index| {
                last = index;
                segment.read(index)
            });
            list.extend(allocations.take(limit - list.len()));
            segment.unmap_read(index..last + 1, limit);
            if list.len() == limit {
                break;
            }
        }
        debug_assert!(list.is_sorted_by_key(|allocation| allocation.id));
        Ok(list)
    }

    /// Returns the allocation of this id, or `None` if it is free.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange); [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file
    /// was truncated; [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn allocation(&self, id: LockId) -> Result<Option<Allocation>> {
        self.check_range(id)?;
        self.check_whole()?;
        let (number, index) = layout::locate(id);
        Ok(if self.has_segment(number) { self.segment(number)?.read(index) } else { None })
    }

    /// Allocates and frees ids, so that exactly these ids are allocated, and returns the changes.
    ///
    /// An id that the call allocates gets its label.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange) before any change;
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit); those of [`Table::check`].
    pub fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        self.check_now_and_then()?;
        if let Some((last, _)) = ids.last_key_value() {
            self.check_range(*last).map_err(|error| error.on(*last))?;
        }
        let mut done = Reconciled::default();
        for segment in self.present() {
            let segment = segment?;
            let bits = segment.allocated();
            let freed = bits.ones().filter(|index| !ids.contains_key(&segment.id(*index)) && bits.clear(*index));
            done.freed.extend(freed.map(|index| segment.id(index)));
        }
        let (me, allocator) = (self.current_owner()?, self.allocator());
        let mut ahead = ids.keys().skip(PREFETCHED);
        for (id, label) in ids {
            if let Some(next) = ahead.next() {
                self.prefetch_record(*next);
            }
            if self.try_allocate_exact(*id, me, label, &allocator).map_err(|error| error.on(*id))? {
                done.allocated.push(*id);
            }
        }
        Ok(done)
    }
}
