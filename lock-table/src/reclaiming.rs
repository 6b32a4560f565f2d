//! Reclaiming temporary ids: those that last as long as the process that allocated them.
//!
//! The record of an allocation says that it is temporary, and identifies the allocator by its process id, its start time and its PID
//! namespace. Each process that has the table open has an entry with the same facts. An entry is reused only after its process is proven
//! dead or has closed the table. So an allocator without an entry, or with the entry of a dead process, no longer uses the id.

use std::cell::Cell;

use crate::layout::GROUP;
use crate::lock_line::LockLine;
use crate::owner::Owner;
use crate::record::{Birth, Record, TEMPORARY};
use crate::segment::Segment;
use crate::table::Table;
use lock_core::{LockId, Result};

impl Table {
    /// Frees each temporary id whose allocator is proven to have ended, to have executed another program or to have closed the table, and
    /// for whose line `is_held` returns false. Returns these ids in ascending order.
    ///
    /// `is_held` gets the recorded owner of the line, if there is one. A line without a recorded owner is not held.
    ///
    /// # Errors
    /// Those of [`Table::check`].
    pub fn reclaim(&self, is_held: impl Fn(&LockLine, Owner) -> bool) -> Result<Vec<LockId>> {
        self.check_now_and_then()?;
        let me = self.current_owner()?;
        // A process often leaves many ids, and the check of its state takes system calls.
        let latest = Cell::new(None);
        let has_left = |record: Record<'_>| {
            let allocator = record.allocator();
            match latest.get() {
                Some((known, has_left)) if known == allocator => has_left,
                _ => {
                    let has_left = self.has_left(allocator);
                    latest.set(Some((allocator, has_left)));
                    has_left
                }
            }
        };
        let is_left = |segment: &Segment, index: usize| {
            if !segment.is_backed(index / GROUP) {
                return false;
            }
            let (record, line) = (segment.record(index), segment.line(index));
            let owner = line.owner();
            record.tag() == TEMPORARY && has_left(record) && (owner.is_none() || !is_held(line, owner))
        };
        let mut freed = Vec::new();
        for segment in self.present() {
            let segment = segment?;
            let reclaimed = segment.allocated().ones().filter(|index| {
                // Without a claim most ids are passed quickly.
                is_left(segment, *index) && self.reclaim_id(segment, *index, me, || is_left(segment, *index))
            });
            freed.extend(reclaimed.map(|index| segment.id(index)));
        }
        Ok(freed)
    }

    /// Frees an id if it is allocated and `is_left`. Returns true if this call freed it.
    ///
    /// No other thread allocates the id while this thread has the claim of its record. So the allocation that is freed is the one that
    /// `is_left` has read.
    fn reclaim_id(&self, segment: &Segment, index: usize, me: Owner, is_left: impl FnOnce() -> bool) -> bool {
        let record = segment.record(index);
        if !record.claim(me, |other| self.is_gone(other)) {
            return false;
        }
        let reclaimed = segment.allocated().get(index) && is_left() && segment.allocated().clear(index);
        record.unclaim();
        reclaimed
    }

    /// Returns true if it is proven that no process with this identity has the table open.
    fn has_left(&self, (pid, birth): (u32, Birth)) -> bool {
        let Some((start_time, namespace)) = birth.decode() else { return false };
        !self.processes_table().may_have(pid, start_time, namespace)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Bound, Kind, TableOptions};
    use lock_core::{Label, OpenMode};

    fn create(directory: &tempfile::TempDir) -> Arc<Table> {
        let options = TableOptions { bound: Some(Bound::Locks(8)), ..TableOptions::default() };
        Table::open(&directory.path().join("table"), Kind::new("test", 1), OpenMode::Create, &options).unwrap()
    }

    #[test]
    fn the_ids_of_a_live_process_stay_allocated() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(&directory);
        let id = table.allocate_temporary(&Label::default()).unwrap();
        assert_eq!(table.reclaim(|_, _| false).unwrap(), []);
        assert!(table.allocation(id).unwrap().unwrap().is_temporary);
    }

    #[test]
    fn an_allocator_that_cannot_be_identified_counts_as_alive() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(&directory);
        for allocator in [(1, Birth::default()), (std::process::id(), Birth::default())] {
            assert!(!table.has_left(allocator));
        }
        // No process has this identity.
        assert!(table.has_left((1, Birth::new(1, 0xf000_0000))));
        assert!(!table.has_left((std::process::id(), table.birth())));
    }

    #[test]
    fn an_id_with_a_live_claim_is_not_reclaimed() {
        let directory = tempfile::tempdir().unwrap();
        let table = create(&directory);
        let id = table.allocate_temporary(&Label::default()).unwrap();
        let (segment, index) = table.find(id).unwrap();
        let me = table.current_owner().unwrap();
        assert!(segment.record(index).claim(me, |_| false));
        assert!(!table.reclaim_id(segment, index, me, || true));
        segment.record(index).unclaim();
        // The allocation was replaced between the two checks.
        assert!(!table.reclaim_id(segment, index, me, || false));
        assert!(table.reclaim_id(segment, index, me, || true));
        assert!(!table.reclaim_id(segment, index, me, || true), "it is free");
    }
}
