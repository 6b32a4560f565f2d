use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use lock_core::{ErrorKind, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};
use lock_table::{Kind, LockLine, Owner, Slot, Table, TableLocks, TableManager, TableOptions, with_parents};

use super::identity::KEY_PREFIX;
use super::location::SetLocation;
use super::run::Run;
use super::state::SysvLock;
use crate::DIRECTORY;

const KIND: Kind = Kind::new("sem", 0);

/// Opens or creates the store of a URL `sem:NAME` or `sem:/path`.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let path = url.file_in(|| Ok(DIRECTORY.into()))?;
    loop {
        let opened = with_parents(url, mode, &table_options, || Table::open(&path, KIND, mode, &table_options));
        let table = match opened {
            Ok(table) => table,
            Err(error) if matches!(error.kind(), ErrorKind::Exists) && finish_removal(&path, &table_options) => continue,
            Err(error) => return Err(error),
        };
        let locks = match SetLocation::of(&table) {
            Ok(location) => Locks { location: Arc::new(location) },
            // Another process destroyed the store after it was opened.
            Err(error) if matches!(error.kind(), ErrorKind::Destroyed) => continue,
            Err(error) => return Err(error),
        };
        if !locks.location.is_being_removed() {
            return Ok(Arc::new(TableManager::new(table, locks)));
        }
        // Another process removes the store, or was killed while it did. The removal can be repeated and shared.
        locks.destroy()?;
        match table.destroy() {
            Err(error) if !matches!(error.kind(), ErrorKind::Destroyed) => return Err(error),
            _ => {}
        }
    }
}

/// Finishes the removal of a store if another process began it. Returns true if the name is free.
fn finish_removal(path: &Path, options: &TableOptions) -> bool {
    let Ok(table) = Table::open(path, KIND, OpenMode::Open, options) else { return false };
    let Ok(location) = SetLocation::of(&table) else { return false };
    location.is_being_removed() && Locks { location: Arc::new(location) }.destroy().and_then(|()| table.destroy()).is_ok()
}

/// The semaphores of a store.
#[derive(Debug)]
struct Locks {
    location: Arc<SetLocation>,
}

impl Locks {
    /// Lists the first ids of the runs whose sets may exist.
    fn runs(&self) -> Result<Vec<LockId>> {
        let mut runs = Vec::new();
        self.location.table().lines(LockId::new(0), |id, _| {
            if Run::begins_with(id) {
                runs.push(id);
            }
            ControlFlow::Continue(())
        })?;
        Ok(runs)
    }
}

impl TableLocks for Locks {
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>> {
        let semaphore = Run::of(&self.location, slot.id())?.semaphore(slot.id())?;
        Ok(Arc::new(SysvLock::new(slot, Arc::clone(&self.location), semaphore)))
    }

    fn is_held(&self, _: &LockLine, _: Owner, lives: bool) -> bool {
        lives
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let runs = self.runs().unwrap_or_default().into_iter();
        let sets = runs.filter_map(|id| Run::of(&self.location, id).ok()?.recorded_set());
        let ids: Vec<_> = sets.map(|set| set.id().to_string()).collect();
        vec![("semaphore sets", format!("{} (ids {}; keys begin with {:#04x})", ids.len(), ids.join(", "), KEY_PREFIX >> 24))]
    }

    fn destroy(&self) -> Result<()> {
        // From another IPC namespace, this process cannot remove the sets.
        self.location.check_thread()?;
        self.location.begin_removal();
        self.runs()?.into_iter().try_for_each(|id| Run::of(&self.location, id)?.remove())
    }
}
