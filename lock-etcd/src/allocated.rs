use lock_core::{Allocation, Generation, LockId, Result};

use crate::client::KeyValue;
use crate::records::{self, AllocationRecord};

/// An allocated id.
#[derive(Debug)]
pub(crate) struct AllocatedId {
    pub(crate) id: LockId,
    /// The revision at which its record was created.
    pub(crate) created: i64,
    pub(crate) record: AllocationRecord,
}

impl AllocatedId {
    /// Reads the record of an id.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt).
    pub(crate) fn read(id: LockId, kv: &KeyValue) -> Result<Self> {
        Ok(Self { id, created: kv.created, record: records::read(kv)? })
    }

    /// Returns the generation of the id: the revision at which it was allocated.
    pub(crate) fn generation(&self) -> Generation {
        Generation::new(self.created.unsigned_abs())
    }

    pub(crate) fn into_allocation(self) -> Allocation {
        let generation = self.generation();
        let AllocationRecord { label, named, allocator, since, .. } = self.record;
        let mut allocation = Allocation::new(self.id);
        allocation.label = label;
        allocation.is_named = named;
        allocation.generation = Some(generation);
        allocation.allocator = allocator;
        allocation.since = Some(since);
        allocation
    }
}
