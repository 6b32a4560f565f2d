//! Wrong backends that claim false capabilities, or that report false states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{
    Capabilities, Deadline, Generations, HeldLock, Holder, Holders, Label, Labels, LockId, Manager, OpenMode, OwnerDeath,
    RawLock, Reconcile, Reconciled, Removal, Result, Store, StoreUrl, ThreadDeath, Waiters, lock_all,
};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::mixed::{RecordLock, beside};
use super::rarely::{Operation, rarely};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<DropsLabels>(),
        faulty::<TakesLabelsItDisclaims>(),
        faulty::<ReconcilesWhatItDisclaims>(),
        faulty::<DestroysWhatItDisclaims>(),
        faulty::<ListsWhatItDisclaims>(),
        faulty::<BreaksWithoutEffect>(),
        faulty::<AcquiresAllLocksToList>(),
        rarely::<AcquiresAllLocksToList>(),
        faulty::<AcquiresEachLockToList>(),
        rarely::<AcquiresEachLockToList>(),
        faulty::<ReleasesRecordLocksWhenItLists>(),
        rarely::<ReleasesRecordLocksWhenItLists>(),
        faulty::<NamesAnotherHolder>(),
        faulty::<ClaimsTheDeathOfThreads>(),
        faulty::<ClaimsGenerations>(),
        faulty::<ClaimsToCountWaiters>(),
        faulty::<ClaimsToBeStuck>(),
    ]
}

#[derive(Debug)]
struct DropsLabels;

impl Fault for DropsLabels {
    const NAME: &'static str = "drops-labels";
    const FAULT: &'static str = "Claims to keep labels, and drops them";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("labels::a_label_is_read_by_everybody", "the labels differ from the given ones")];

    fn allocate(honest: &dyn Manager, _: &Label) -> Result<LockId> {
        honest.allocate(&Label::default())
    }
}

#[derive(Debug)]
struct TakesLabelsItDisclaims;

impl Fault for TakesLabelsItDisclaims {
    const NAME: &'static str = "takes-labels-it-disclaims";
    const FAULT: &'static str = "Accepts labels, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("labels::a_label_is_refused_and_allocates_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_labels(Labels::Unsupported);
}

#[derive(Debug)]
struct DestroysWhatItDisclaims;

impl Fault for DestroysWhatItDisclaims {
    const NAME: &'static str = "destroys-what-it-disclaims";
    const FAULT: &'static str = "Removes its stores, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::destroying_is_refused_and_changes_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_removal(Removal::Refused);
}

#[derive(Debug)]
struct ReconcilesWhatItDisclaims;

impl Fault for ReconcilesWhatItDisclaims {
    const NAME: &'static str = "reconciles-what-it-disclaims";
    const FAULT: &'static str = "Reconciles, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::reconciling_is_refused_and_changes_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_reconcile(Reconcile::Unsupported);

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        honest.reconcile(ids)
    }
}

#[derive(Debug)]
struct ListsWhatItDisclaims;

impl Fault for ListsWhatItDisclaims {
    const NAME: &'static str = "lists-what-it-disclaims";
    const FAULT: &'static str = "Returns an empty list of held locks, although it disclaims the list";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_for_held_locks_is_refused", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_holders(Holders::Unknown);

    fn held(_: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct BreaksWithoutEffect;

impl Fault for BreaksWithoutEffect {
    const NAME: &'static str = "breaks-in-silence";
    const FAULT: &'static str = "Reports that it broke a lock, although it did not";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("breaking::breaking_is_refused_and_changes_nothing", "it should have been Unsupported")];

    fn break_lock(_: &dyn Manager, _: &StoreUrl, _: LockId) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct AcquiresAllLocksToList;

impl Fault for AcquiresAllLocksToList {
    const NAME: &'static str = "locks-while-it-looks";
    const FAULT: &'static str = "Acquires all locks in order to list the held ones, as podman does";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_takes_no_lock", "no thread acquired the lock, but")];
    const RARE: &'static [Operation] = &[Operation::Held];

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        let store = Store::with_backend(&reference::BACKEND, url, OpenMode::Open)?;
        let locks = (0..32).map(|id| store.retrieve(id)).collect::<Result<Vec<_>>>()?;
        let all = lock_all(&locks, Deadline::Now);
        // Models the longer hold time in a store with many locks.
        thread::sleep(Duration::from_millis(1));
        drop(all);
        honest.held()
    }
}

#[derive(Debug)]
struct AcquiresEachLockToList;

impl Fault for AcquiresEachLockToList {
    const NAME: &'static str = "takes-each-lock-for-a-moment";
    const FAULT: &'static str = "Acquires and releases each lock in order to list the held ones";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_takes_no_lock", "no thread acquired the lock, but")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Held];

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        let store = Store::with_backend(&reference::BACKEND, url, OpenMode::Open)?;
        for id in 0..4 {
            // The backend ignores the refusal that the owner of a lock gets.
            drop(store.retrieve(id)?.try_lock());
        }
        honest.held()
    }
}

#[derive(Debug)]
struct ReleasesRecordLocksWhenItLists;

impl Fault for ReleasesRecordLocksWhenItLists {
    const NAME: &'static str = "gives-up-record-locks-when-it-looks";
    const FAULT: &'static str =
        "Opens and closes the files of its record locks in order to list the held ones, which releases the locks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::a_holder_that_looks_keeps_its_locks", "has only called held()")];
    const RARE: &'static [Operation] = &[Operation::Held];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)?;
        Ok(Arc::new(RecordLock::on(beside(url, id)?)))
    }

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        for id in 0..4 {
            drop(beside(url, LockId::new(id))?);
        }
        honest.held()
    }
}

#[derive(Debug)]
struct NamesAnotherHolder;

impl Fault for NamesAnotherHolder {
    const NAME: &'static str = "names-another-holder";
    const FAULT: &'static str = "Names another process as the holder";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("listing::a_held_lock_is_listed_with_its_holder", "another process than the holder is named"),
        ("listing::looking_disturbs_neither_holder_nor_waiters", "the holder is not named while another thread waits"),
    ];

    fn held(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        let another = || Holder::of_process(1);
        Ok(honest.held()?.into_iter().map(|held| HeldLock::new(held.id, Some(another()))).collect())
    }
}

#[derive(Debug)]
struct ClaimsTheDeathOfThreads;

impl Fault for ClaimsTheDeathOfThreads {
    const NAME: &'static str = "claims-the-death-of-threads";
    const FAULT: &'static str = "Claims that the end of a thread frees its lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("owner_death::a_thread_that_ends_frees_its_lock", "watchdog")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_thread_death(ThreadDeath::Reported);
}

#[derive(Debug)]
struct ClaimsGenerations;

impl Fault for ClaimsGenerations {
    const NAME: &'static str = "claims-generations";
    const FAULT: &'static str = "Claims to count allocations";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("freeing::a_handle_knows_that_its_id_was_handed_to_somebody_else", "the id was allocated again"),
        ("freeing::a_stale_handle_does_not_free_the_id_of_somebody_else", "it should have been Stale"),
    ];
    const CLAIMS: Capabilities = reference::CLAIMS.with_generations(Generations::Counted);
}

#[derive(Debug)]
struct ClaimsToCountWaiters;

impl Fault for ClaimsToCountWaiters {
    const NAME: &'static str = "claims-to-count-waiters";
    const FAULT: &'static str = "Claims to count waiters";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("listing::waiters_are_counted", "the number of waiters")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_waiters(Waiters::Counted);
}

#[derive(Debug)]
struct ClaimsToBeStuck;

impl Fault for ClaimsToBeStuck {
    const NAME: &'static str = "claims-to-be-stuck";
    const FAULT: &'static str = "Frees the locks of dead owners, and claims that these locks stay locked";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::a_stuck_lock_stays_locked_after_a_death", "which is claimed to leave it locked")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_owner_death(OwnerDeath::Stuck);
}
