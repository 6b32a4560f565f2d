//! The checks of locks, sums and ids when all workers have stopped.

use std::collections::BTreeSet;

use lock_core::{Deadlines, ErrorKind, Labels, LockId, Result};

use super::worker::{How, Worker};
use super::{CHURNED, KEPT, LOCKS};

impl Worker<'_> {
    /// Acquires every lock once and checks its sum. Frees all ids except those of the locks.
    pub(super) fn inspect(&self) {
        let how = if self.claims.deadlines == Deadlines::Monotonic { How::WaitFor } else { How::Wait };
        (0..LOCKS).for_each(|number| self.section(0, number, how, 1));
        let places = (0..LOCKS).map(|number| self.log.memory.place(number));
        let wrong: Vec<_> = places.map(|place| (place.value(), place.done())).filter(|(value, done)| value != done).collect();
        self.log.sums_are_wrong(wrong.len() as u64, &format!("sums are wrong: {wrong:?}"));
        if let Err(error) = self.inspect_ids() {
            self.log.lost(&error.to_string());
        }
    }

    fn inspect_ids(&self) -> Result<()> {
        let labels = self.claims.labels == Labels::Kept;
        let mut ids = BTreeSet::new();
        for one in self.store.allocated()? {
            let label = if one.id.index() < LOCKS { KEPT } else { CHURNED };
            if labels && one.label.as_str() != label {
                self.log.lost(&format!("the id {} has the label {:?}, not {label:?}", one.id, one.label.as_str()));
            }
            ids.insert(one.id);
        }
        let kept: BTreeSet<_> = (0..LOCKS as u32).map(LockId::new).collect();
        if let Some(freed) = kept.difference(&ids).next() {
            self.log.lost(&format!("the id {freed} is free, but no worker freed it"));
        }
        loop {
            match self.store.allocate("") {
                Ok(lock) if !ids.insert(lock.id()) => {
                    self.log.lost(&format!("the id {} was handed out twice", lock.id()));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::Exhausted) => break,
                Err(error) => return Err(error),
            }
        }
        let capacity = self.log.memory.places() as u32;
        let lost: Vec<_> = (0..capacity).map(LockId::new).filter(|id| !ids.contains(id)).collect();
        self.log.ids_are_lost(lost.len() as u64, &format!("ids are lost: {lost:?}"));
        for id in ids.difference(&kept) {
            self.log.memory.place(id.index()).leave();
            self.store.free(id.get())?;
        }
        let free = u64::from(capacity) - LOCKS as u64 - lost.len() as u64;
        match self.store.available()? {
            Some(counted) if counted != free => self.log.lost(&format!("{free} ids are free, but available() returns {counted}")),
            _ => {}
        }
        Ok(())
    }
}
