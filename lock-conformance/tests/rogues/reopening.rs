//! Wrong backends that lose state when the last handle of a store is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Cause, Deadline, ErrorKind, Holder, LockId, Manager, OwnerKind, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<LosesOwnersWithTheStore>(), faulty::<LosesNamesWithTheStore>()]
}

#[derive(Debug)]
struct LosesOwnersWithTheStore;

impl Fault for LosesOwnersWithTheStore {
    const NAME: &'static str = "loses-owners-with-the-store";
    const FAULT: &'static str = "Forgets the owner of a lock that was acquired before the process closed the store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reentry::a_lock_whose_guard_was_leaked_before_the_store_closed_is_held_already", "it should have been AlreadyHeld")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Opened { honest: honest.lock(id)?, id, acquired: acquired_in(url) }))
    }
}

/// The locks that this process has acquired since it last opened the store.
type Acquisitions = Mutex<BTreeSet<LockId>>;

fn acquired_in(url: &StoreUrl) -> Arc<Acquisitions> {
    static STORES: Mutex<BTreeMap<String, Weak<Acquisitions>>> = Mutex::new(BTreeMap::new());
    let mut stores = locked(&STORES);
    let known = stores.get(url.as_str()).and_then(Weak::upgrade);
    known.unwrap_or_else(|| {
        let new = Arc::<Acquisitions>::default();
        stores.insert(url.as_str().to_owned(), Arc::downgrade(&new));
        new
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Opened {
    honest: Arc<dyn RawLock>,
    id: LockId,
    acquired: Arc<Acquisitions>,
}

impl RawLock for Opened {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        loop {
            match self.honest.acquire(deadline) {
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyHeld) && !locked(&self.acquired).contains(&self.id) => {}
                other => {
                    locked(&self.acquired).insert(self.id);
                    return other;
                }
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct LosesNamesWithTheStore;

impl Fault for LosesNamesWithTheStore {
    const NAME: &'static str = "loses-names-with-the-store";
    const FAULT: &'static str = "Does not name the process that panicked and then closed the store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_panic_that_closes_the_store_names_its_process", "the report names another process")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Named { honest: honest.lock(id)?, closed: format!("{}/closed", url.location().display()) }))
    }
}

/// A lock with a file that lists the processes that have closed it.
#[derive(Debug)]
struct Named {
    honest: Arc<dyn RawLock>,
    closed: String,
}

impl RawLock for Named {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut acquired = self.honest.acquire(deadline)?;
        if let Acquired::Recovered(recovery) = &mut acquired
            && recovery.death.cause == Cause::Panicked
        {
            let closed = fs::read_to_string(&self.closed).unwrap_or_default();
            let pid = recovery.death.holder.as_ref().map_or(0, |holder| holder.pid).to_string();
            if closed.lines().any(|line| line == pid) {
                recovery.death.holder = None;
            }
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let closed = fs::read_to_string(&self.closed).unwrap_or_default();
        let _ = fs::write(&self.closed, format!("{closed}{}\n", std::process::id()));
    }
}
