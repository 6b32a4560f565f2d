//! The locks of a store, for listings. Reading them acquires, delays and changes no lock.

use lock_any::{Error, HeldBy, Holders, Lock, Store, Waits};

use crate::facts::Entry;

/// Returns the only lock of a store.
pub(crate) fn single(store: &Store) -> Result<Entry, Error> {
    let lock = store.single()?;
    let mut entry = Entry::new(lock.id());
    entry.allocated = true;
    if store.capabilities().holders == Holders::Named {
        entry.holder = lock.holder()?;
        entry.held = Some(entry.holder.is_some());
        entry.waiters = lock.waiters();
    } else {
        add_holder(&mut entry, &lock);
    }
    if let Some(waits) = named_waits(store)? {
        entry.waiters = Some(waits.waiters.len() as u32);
    }
    Ok(entry)
}

/// The doubt about a holder that is proven to be dead.
pub(crate) const DEAD: &str = "the holder is dead";

/// Adds the holder that a wait for the lock would report.
pub(crate) fn add_holder(entry: &mut Entry, lock: &Lock) {
    (entry.held, entry.holder, entry.doubt) = match lock.held_by() {
        HeldBy::Holder(holder) => (Some(true), Some(holder), None),
        HeldBy::Dead(holder) => (Some(true), Some(holder), Some(DEAD.to_owned())),
        HeldBy::Free => (Some(false), None, None),
        HeldBy::Unknown { reason } => (None, None, Some(reason)),
        _ => (None, None, None),
    };
}

/// Returns the waiting threads, or `None` if the backend does not know them.
pub(crate) fn named_waits(store: &Store) -> Result<Option<Waits>, Error> {
    match store.waiting() {
        Ok(waits) => Ok(Some(waits)),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error),
    }
}
