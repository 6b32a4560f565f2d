//! The locks of a store, for listings. Reading them acquires, delays and changes no lock.

use lock_any::{Error, HeldBy, Holders, Lock, Numbering, Store, Waits};

use crate::exit::Failure;
use crate::facts::Entry;

/// Returns one lock, allocated or not.
pub(crate) fn of(store: &Store, lock: &Lock) -> Result<Entry, Failure> {
    if store.capabilities().numbering == Numbering::Single {
        return Ok(single(store)?);
    }
    let mut entry = Entry::new(lock.id());
    if let Some(allocation) = store.allocation(lock.id())? {
        entry = entry.allocated(allocation);
    }
    match store.held() {
        Ok(held) => {
            entry = match held.into_iter().find(|held| held.id == lock.id()) {
                Some(held) => entry.held(held),
                None => entry.free(),
            };
        }
        Err(error) if error.is_unsupported() => add_holder(&mut entry, lock),
        Err(error) => return Err(error.into()),
    }
    if let Some(waits) = named_waits(store)? {
        entry.waiters = Some(waits.waiters.iter().filter(|waiter| waiter.id == lock.id()).count() as u32);
    }
    Ok(entry)
}

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
