//! The id of `run --new`.

use lock_any::{Lock, Result, Store, Temporary};

/// Allocates an id for this run. If all ids are allocated, frees those of runs that were killed.
pub(super) fn allocate(store: &Store, label: &str) -> Result<Lock> {
    if store.capabilities().temporary < Temporary::Reclaimed {
        return store.allocate(label);
    }
    match store.allocate_temporary(label) {
        Err(error) if error.is_exhausted() => {
            store.reclaim()?;
            store.allocate_temporary(label)
        }
        allocated => allocated,
    }
}
