//! Rogues that lie about what they can do, or about what they see.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{
    Capabilities, Deadline, Generations, HeldLock, Holder, Holders, Label, Labels, LockId, Manager, OpenMode, OwnerDeath,
    RawLock, Reconcile, Reconciled, Removal, Result, Store, StoreUrl, ThreadDeath, Waiters, lock_all,
};

use super::Sinner;
use super::mixed::{RecordLock, beside};
use super::rarely::{Operation, rarely};
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<DropsLabels>(),
        sinner::<TakesLabelsItDisclaims>(),
        sinner::<ReconcilesWhatItDisclaims>(),
        sinner::<DestroysWhatItDisclaims>(),
        sinner::<ListsWhatItDisclaims>(),
        sinner::<BreaksInSilence>(),
        sinner::<LocksWhileItLooks>(),
        rarely::<LocksWhileItLooks>(),
        sinner::<TakesEachLockForAMoment>(),
        rarely::<TakesEachLockForAMoment>(),
        sinner::<GivesUpRecordLocksWhenItLooks>(),
        rarely::<GivesUpRecordLocksWhenItLooks>(),
        sinner::<NamesAnotherHolder>(),
        sinner::<ClaimsTheDeathOfThreads>(),
        sinner::<ClaimsGenerations>(),
        sinner::<ClaimsToCountWaiters>(),
        sinner::<ClaimsToBeStuck>(),
    ]
}

#[derive(Debug)]
struct DropsLabels;

impl Sin for DropsLabels {
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

impl Sin for TakesLabelsItDisclaims {
    const NAME: &'static str = "takes-labels-it-disclaims";
    const FAULT: &'static str = "Takes labels, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("labels::a_label_is_refused_and_allocates_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.labels(Labels::Unsupported);
}

#[derive(Debug)]
struct DestroysWhatItDisclaims;

impl Sin for DestroysWhatItDisclaims {
    const NAME: &'static str = "destroys-what-it-disclaims";
    const FAULT: &'static str = "Removes its stores, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::destroying_is_refused_and_changes_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.removal(Removal::Refused);
}

#[derive(Debug)]
struct ReconcilesWhatItDisclaims;

impl Sin for ReconcilesWhatItDisclaims {
    const NAME: &'static str = "reconciles-what-it-disclaims";
    const FAULT: &'static str = "Reconciles, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::reconciling_is_refused_and_changes_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.reconcile(Reconcile::Unsupported);

    fn reconcile(honest: &dyn Manager, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        honest.reconcile(ids)
    }
}

#[derive(Debug)]
struct ListsWhatItDisclaims;

impl Sin for ListsWhatItDisclaims {
    const NAME: &'static str = "lists-what-it-disclaims";
    const FAULT: &'static str = "Lists no lock as held, although it disclaims the list";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_for_held_locks_is_refused", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.holders(Holders::Unknown);

    fn held(_: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct BreaksInSilence;

impl Sin for BreaksInSilence {
    const NAME: &'static str = "breaks-in-silence";
    const FAULT: &'static str = "Says that it broke a lock, and has not";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("breaking::breaking_is_refused_and_changes_nothing", "it should have been Unsupported")];

    fn break_lock(_: &dyn Manager, _: &StoreUrl, _: LockId) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct LocksWhileItLooks;

impl Sin for LocksWhileItLooks {
    const NAME: &'static str = "locks-while-it-looks";
    const FAULT: &'static str = "Acquires all locks at once in order to list them, as podman does";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_takes_no_lock", "no thread acquired the lock, but")];
    const RARE: &'static [Operation] = &[Operation::Held];

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        let store = Store::with_backend(&reference::BACKEND, url, OpenMode::Open)?;
        let locks = (0..32).map(|id| store.retrieve(id)).collect::<Result<Vec<_>>>()?;
        let all = lock_all(&locks, Deadline::Now);
        // A store with many locks takes its time.
        thread::sleep(Duration::from_millis(1));
        drop(all);
        honest.held()
    }
}

#[derive(Debug)]
struct TakesEachLockForAMoment;

impl Sin for TakesEachLockForAMoment {
    const NAME: &'static str = "takes-each-lock-for-a-moment";
    const FAULT: &'static str = "Acquires and releases each lock in order to list it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_takes_no_lock", "no thread acquired the lock, but")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Held];

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        let store = Store::with_backend(&reference::BACKEND, url, OpenMode::Open)?;
        for id in 0..4 {
            // The owner of a lock is refused, which this backend takes for an answer.
            drop(store.retrieve(id)?.try_lock());
        }
        honest.held()
    }
}

#[derive(Debug)]
struct GivesUpRecordLocksWhenItLooks;

impl Sin for GivesUpRecordLocksWhenItLooks {
    const NAME: &'static str = "gives-up-record-locks-when-it-looks";
    const FAULT: &'static str = "Opens and closes the files of its record locks in order to list them, which gives the locks up";
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

impl Sin for NamesAnotherHolder {
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

impl Sin for ClaimsTheDeathOfThreads {
    const NAME: &'static str = "claims-the-death-of-threads";
    const FAULT: &'static str = "Claims that the end of a thread frees its lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("owner_death::a_thread_that_ends_frees_its_lock", "watchdog")];
    const CLAIMS: Capabilities = reference::CLAIMS.thread_death(ThreadDeath::Reported);
}

#[derive(Debug)]
struct ClaimsGenerations;

impl Sin for ClaimsGenerations {
    const NAME: &'static str = "claims-generations";
    const FAULT: &'static str = "Claims to count allocations";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("freeing::a_handle_knows_that_its_id_was_handed_to_somebody_else", "the id was allocated again"),
        ("freeing::a_stale_handle_does_not_free_the_id_of_somebody_else", "it should have been Stale"),
    ];
    const CLAIMS: Capabilities = reference::CLAIMS.generations(Generations::Counted);
}

#[derive(Debug)]
struct ClaimsToCountWaiters;

impl Sin for ClaimsToCountWaiters {
    const NAME: &'static str = "claims-to-count-waiters";
    const FAULT: &'static str = "Claims to count waiters";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("listing::waiters_are_counted", "nobody waits")];
    const CLAIMS: Capabilities = reference::CLAIMS.waiters(Waiters::Counted);
}

#[derive(Debug)]
struct ClaimsToBeStuck;

impl Sin for ClaimsToBeStuck {
    const NAME: &'static str = "claims-to-be-stuck";
    const FAULT: &'static str = "Frees the locks of the dead, and claims that they stay locked";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::a_stuck_lock_stays_locked_after_a_death", "which is claimed to leave it locked")];
    const CLAIMS: Capabilities = reference::CLAIMS.owner_death(OwnerDeath::Stuck);
}
