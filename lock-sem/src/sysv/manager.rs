use std::path::Path;
use std::sync::Arc;

use lock_core::{ErrorKind, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};
use lock_table::{Hot, Kind, Owner, Slot, Table, TableLocks, TableManager, TableOptions};

use super::home::Home;
use super::identity::KEY;
use super::run::Run;
use super::state::SysvLock;
use crate::DIRECTORY;

const KIND: Kind = Kind::new("sem", 0);

pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let path = url.file_in(|| Ok(DIRECTORY.into()))?;
    loop {
        let table = match Table::open(&path, KIND, mode, &table_options) {
            Ok(table) => table,
            Err(error) if matches!(error.kind(), ErrorKind::Exists) && finish_removal(&path, &table_options) => continue,
            Err(error) => return Err(error),
        };
        let locks = match Home::of(&table) {
            Ok(home) => Locks { home: Arc::new(home) },
            // It was destroyed just now.
            Err(error) if matches!(error.kind(), ErrorKind::Destroyed) => continue,
            Err(error) => return Err(error),
        };
        if !locks.home.is_being_removed() {
            return Ok(Arc::new(TableManager::new(table, locks)));
        }
        // Whoever began that was killed, or is at it: it takes two to be stopped by half a removal.
        locks.destroy()?;
        match table.destroy() {
            Err(error) if !matches!(error.kind(), ErrorKind::Destroyed) => return Err(error),
            _ => {}
        }
    }
}

/// Ends what a killed process began, if the store is one that somebody began to remove. True when the name is free now.
fn finish_removal(path: &Path, options: &TableOptions) -> bool {
    let Ok(table) = Table::open(path, KIND, OpenMode::Open, options) else { return false };
    let Ok(home) = Home::of(&table) else { return false };
    home.is_being_removed() && Locks { home: Arc::new(home) }.destroy().and_then(|()| table.destroy()).is_ok()
}

#[derive(Debug)]
struct Locks {
    home: Arc<Home>,
}

impl Locks {
    /// The first ids of the runs whose sets may have been made.
    fn runs(&self) -> Result<Vec<LockId>> {
        let mut runs = Vec::new();
        self.home.table().lines(|id, _| {
            if Run::begins_with(id) {
                runs.push(id);
            }
        })?;
        Ok(runs)
    }
}

impl TableLocks for Locks {
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>> {
        let semaphore = Run::of(&self.home, slot.id())?.semaphore(slot.id())?;
        Ok(Arc::new(SysvLock::new(slot, Arc::clone(&self.home), semaphore)))
    }

    fn is_held(&self, _: &Hot, _: Owner, lives: bool) -> bool {
        lives
    }

    fn waiters(&self, id: LockId) -> Option<u32> {
        Run::of(&self.home, id).ok()?.present_semaphore(id)?.waiters()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let runs = self.runs().unwrap_or_default().into_iter();
        let sets = runs.filter_map(|id| Run::of(&self.home, id).ok()?.present_set());
        let ids: Vec<_> = sets.map(|set| set.id().to_string()).collect();
        vec![("semaphore sets", format!("{} (ids {}; keys begin with {:#04x})", ids.len(), ids.join(", "), KEY >> 24))]
    }

    fn destroy(&self) -> Result<()> {
        // The sets of another namespace would be left.
        self.home.check_thread()?;
        self.home.begin_removal();
        self.runs()?.into_iter().try_for_each(|id| Run::of(&self.home, id)?.remove())
    }
}
