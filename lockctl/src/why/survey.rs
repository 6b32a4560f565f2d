//! Reads the locks of a store with their holders and waiters.

use std::collections::BTreeMap;

use lock_any::{Error, HeldBy, Holders, LockId, Numbering, Store, WaitGraph, Waiter};

use crate::entries;
use crate::facts::Entry;

/// A lock with its waiters.
pub(crate) struct Facts {
    pub(crate) entry: Entry,
    pub(crate) is_dead: bool,
    /// Empty if the backend does not name waiters.
    pub(crate) waiting: Vec<Waiter>,
}

impl Facts {
    fn new(entry: Entry) -> Self {
        Self { entry, is_dead: false, waiting: Vec::new() }
    }

    /// Returns whether the lock needs an explanation.
    pub(crate) fn is_notable(&self) -> bool {
        self.is_dead || self.entry.doubt.is_some() || self.entry.waiters.is_some_and(|count| count > 0)
    }
}

/// The locks of a store that are held or waited for, and a lock that the user has named.
pub(crate) struct Survey {
    pub(crate) locks: BTreeMap<LockId, Facts>,
    /// Whether the backend names the waiting threads.
    pub(crate) names_waiters: bool,
    /// Whether the backend lists the held locks.
    pub(crate) lists_held: bool,
    pub(crate) incomplete: Option<String>,
}

impl Survey {
    /// Reads the store. The waiting threads are those of the graph.
    pub(crate) fn of(store: &Store, id: Option<LockId>, graph: &WaitGraph) -> Result<Self, Error> {
        let (entries, lists_held) = held(store)?;
        let mut locks: BTreeMap<_, _> = entries.into_iter().map(|(id, entry)| (id, Facts::new(entry))).collect();
        if let Some(id) = id {
            let facts = match locks.remove(&id) {
                Some(facts) => facts,
                None => Facts::new(unlisted(store, id, lists_held)?),
            };
            locks.insert(id, facts);
        }
        for facts in locks.values_mut() {
            add_death(facts, store)?;
        }
        let read = graph.stores.iter().find(|read| read.store == store.url());
        let names_waiters = read.is_some_and(|read| read.names_waiters);
        if names_waiters {
            locks.values_mut().for_each(|facts| facts.entry.waiters = Some(0));
        }
        for wait in graph.waits.iter().filter(|wait| wait.waits_for.store == store.url()) {
            let id = wait.waits_for.id;
            let facts = locks.entry(id).or_insert_with(|| Facts::new(Entry::new(id).free()));
            facts.entry.waiters = Some(facts.entry.waiters.unwrap_or_default() + 1);
            facts.waiting.push(Waiter::new(id, wait.thread.clone()).with_waited(wait.waited).with_lost(wait.is_lost));
        }
        Ok(Self { locks, names_waiters, lists_held, incomplete: read.and_then(|read| read.incomplete.clone()) })
    }
}

/// Returns the held locks, and whether the backend lists them.
fn held(store: &Store) -> Result<(BTreeMap<LockId, Entry>, bool), Error> {
    if store.capabilities().numbering == Numbering::Single {
        let entry = entries::single(store)?;
        return Ok((BTreeMap::from([(entry.id, entry)]), true));
    }
    match store.held() {
        Ok(held) => Ok((held.into_iter().map(|lock| (lock.id, Entry::new(lock.id).held(lock))).collect(), true)),
        Err(error) if error.is_unsupported() => Ok((BTreeMap::new(), false)),
        Err(error) => Err(error),
    }
}

/// Returns a lock that is not in the list of held locks.
fn unlisted(store: &Store, id: LockId, lists_held: bool) -> Result<Entry, Error> {
    let entry = Entry::new(id);
    if lists_held {
        return Ok(entry.free());
    }
    let mut entry = entry;
    entries::add_holder(&mut entry, &store.retrieve(id)?);
    Ok(entry)
}

/// Finds out whether the holder is dead, and names it if the list of held locks does not.
fn add_death(facts: &mut Facts, store: &Store) -> Result<(), Error> {
    let named = store.capabilities().holders == Holders::Named;
    if facts.entry.held != Some(true) || !named {
        facts.is_dead = facts.entry.doubt.as_deref() == Some(entries::DEAD);
        return Ok(());
    }
    match store.retrieve(facts.entry.id)?.held_by() {
        HeldBy::Dead(holder) => {
            facts.is_dead = true;
            facts.entry.holder.get_or_insert(holder);
        }
        HeldBy::Unknown { reason } if facts.entry.holder.is_none() => {
            facts.entry.doubt.get_or_insert(reason);
        }
        _ => {}
    }
    Ok(())
}
