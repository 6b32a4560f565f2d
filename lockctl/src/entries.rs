//! The locks of a store, for listings. Reading them acquires, delays and changes no lock.

use std::collections::BTreeMap;

use lock_any::{Allocation, Error, HeldBy, HeldLock, Holders, Lock, LockId, Numbering, Store, Waits};

use crate::exit::Failure;
use crate::facts::Entry;

/// Returns allocated and held locks, and those for which threads wait; only the allocated ones if the backend does not know the others.
pub(crate) fn all(store: &Store) -> Result<BTreeMap<LockId, Entry>, Error> {
    if store.capabilities().numbering == Numbering::Single {
        let entry = single(store)?;
        return Ok(BTreeMap::from([(entry.id, entry)]));
    }
    let mut entries = allocated(store)?;
    match store.held() {
        Ok(held) => {
            entries.values_mut().for_each(|entry| entry.held = Some(false));
            add_held(&mut entries, held);
        }
        Err(error) if error.is_unsupported() => {}
        Err(error) => return Err(error),
    }
    if let Some(waits) = waits(store, &entries)? {
        count_waiters(&mut entries, &waits);
    }
    Ok(entries)
}

/// Returns the held locks.
pub(crate) fn held(store: &Store) -> Result<BTreeMap<LockId, Entry>, Error> {
    let held = store.held()?;
    let mut entries = allocated(store)?;
    add_held(&mut entries, held);
    entries.retain(|_, entry| entry.held == Some(true));
    if let Some(waits) = waits(store, &entries)? {
        count_waiters(&mut entries, &waits);
        entries.retain(|_, entry| entry.held == Some(true));
    }
    Ok(entries)
}

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

/// Returns the waiting threads if the backend knows them and has not counted them already.
fn waits(store: &Store, entries: &BTreeMap<LockId, Entry>) -> Result<Option<Waits>, Error> {
    let is_counted = entries.values().any(|entry| entry.waiters.is_some());
    if is_counted { Ok(None) } else { named_waits(store) }
}

fn count_waiters(entries: &mut BTreeMap<LockId, Entry>, waits: &Waits) {
    entries.values_mut().filter(|entry| entry.held == Some(true)).for_each(|entry| entry.waiters = Some(0));
    for waiter in &waits.waiters {
        let entry = entries.entry(waiter.id).or_insert_with(|| Entry::new(waiter.id).free());
        entry.waiters = Some(entry.waiters.unwrap_or_default() + 1);
    }
}

fn allocated(store: &Store) -> Result<BTreeMap<LockId, Entry>, Error> {
    let entry = |allocation: Allocation| (allocation.id, Entry::new(allocation.id).allocated(allocation));
    Ok(store.allocated()?.into_iter().map(entry).collect())
}

fn add_held(entries: &mut BTreeMap<LockId, Entry>, held: Vec<HeldLock>) {
    for lock in held {
        let id = lock.id;
        let entry = entries.remove(&id).unwrap_or_else(|| Entry::new(id));
        entries.insert(id, entry.held(lock));
    }
}
