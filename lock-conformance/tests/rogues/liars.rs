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
        sinner::<TakesEachLockForAMoment>(),
        sinner::<GivesUpRecordLocksWhenItLooks>(),
        sinner::<NamesAnotherHolder>(),
        sinner::<ClaimsTheDeathOfThreads>(),
        sinner::<ClaimsGenerations>(),
        sinner::<ClaimsToCountWaiters>(),
        sinner::<ClaimsToBeStuck>(),
    ]
}

/// Claims to keep labels, and drops them.
#[derive(Debug)]
struct DropsLabels;

impl Sin for DropsLabels {
    const NAME: &'static str = "drops-labels";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("labels::a_label_is_read_by_everybody", "labels are not what was given")];

    fn allocate(honest: &dyn Manager, _: &Label) -> Result<LockId> {
        honest.allocate(&Label::default())
    }
}

/// Disclaims labels, and takes them all the same.
#[derive(Debug)]
struct TakesLabelsItDisclaims;

impl Sin for TakesLabelsItDisclaims {
    const NAME: &'static str = "takes-labels-it-disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("labels::a_label_is_refused_and_allocates_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.labels(Labels::Unsupported);
}

/// Says that its stores cannot be removed, and removes them all the same.
#[derive(Debug)]
struct DestroysWhatItDisclaims;

impl Sin for DestroysWhatItDisclaims {
    const NAME: &'static str = "destroys-what-it-disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::destroying_is_refused_and_changes_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.removal(Removal::Refused);
}

/// Disclaims reconciling, and does it all the same.
#[derive(Debug)]
struct ReconcilesWhatItDisclaims;

impl Sin for ReconcilesWhatItDisclaims {
    const NAME: &'static str = "reconciles-what-it-disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::reconciling_is_refused_and_changes_nothing", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.reconcile(Reconcile::Unsupported);

    fn reconcile(honest: &dyn Manager, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        honest.reconcile(ids)
    }
}

/// Disclaims holders, and lists some: none at all, which looks as if nothing were held.
#[derive(Debug)]
struct ListsWhatItDisclaims;

impl Sin for ListsWhatItDisclaims {
    const NAME: &'static str = "lists-what-it-disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_for_held_locks_is_refused", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS.holders(Holders::Unknown);

    fn held(_: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        Ok(Vec::new())
    }
}

/// Says that it broke a lock, which it disclaims, and which it has not done.
#[derive(Debug)]
struct BreaksInSilence;

impl Sin for BreaksInSilence {
    const NAME: &'static str = "breaks-in-silence";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("breaking::breaking_is_refused_and_changes_nothing", "it should have been Unsupported")];

    fn break_lock(_: &dyn Manager, _: &StoreUrl, _: LockId) -> Result<()> {
        Ok(())
    }
}

/// Takes the locks that it lists, as podman does.
#[derive(Debug)]
struct LocksWhileItLooks;

impl Sin for LocksWhileItLooks {
    const NAME: &'static str = "locks-while-it-looks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_takes_no_lock", "only somebody looked, and the lock was busy")];

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

/// Takes one lock after the other, each for as long as it takes to release it.
#[derive(Debug)]
struct TakesEachLockForAMoment;

impl Sin for TakesEachLockForAMoment {
    const NAME: &'static str = "takes-each-lock-for-a-moment";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::looking_takes_no_lock", "only somebody looked, and the lock was busy")];

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        let store = Store::with_backend(&reference::BACKEND, url, OpenMode::Open)?;
        for id in 0..4 {
            drop(store.retrieve(id)?.try_lock()?);
        }
        honest.held()
    }
}

/// Has record locks, which a process gives up when it closes any descriptor of the file, and looks at the file.
#[derive(Debug)]
struct GivesUpRecordLocksWhenItLooks;

impl Sin for GivesUpRecordLocksWhenItLooks {
    const NAME: &'static str = "gives-up-record-locks-when-it-looks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::a_holder_that_looks_keeps_its_locks", "has only called held()")];

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

/// Says that somebody else holds what is held.
#[derive(Debug)]
struct NamesAnotherHolder;

impl Sin for NamesAnotherHolder {
    const NAME: &'static str = "names-another-holder";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("listing::a_held_lock_is_listed_with_its_holder", "another process than the holder is named"),
        ("listing::looking_disturbs_neither_holder_nor_waiters", "the holder is not named while somebody waits"),
    ];

    fn held(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        let another = || Holder::of_process(1);
        Ok(honest.held()?.into_iter().map(|held| HeldLock::new(held.id, Some(another()))).collect())
    }
}

/// Claims that the death of a thread frees its lock.
#[derive(Debug)]
struct ClaimsTheDeathOfThreads;

impl Sin for ClaimsTheDeathOfThreads {
    const NAME: &'static str = "claims-the-death-of-threads";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("owner_death::a_thread_that_ends_frees_its_lock", "watchdog")];
    const CLAIMS: Capabilities = reference::CLAIMS.thread_death(ThreadDeath::Reported);
}

/// Claims to count allocations.
#[derive(Debug)]
struct ClaimsGenerations;

impl Sin for ClaimsGenerations {
    const NAME: &'static str = "claims-generations";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("freeing::a_handle_knows_that_its_id_was_handed_to_somebody_else", "the id was handed to somebody else"),
        ("freeing::a_stale_handle_does_not_free_the_id_of_somebody_else", "it should have been Stale"),
    ];
    const CLAIMS: Capabilities = reference::CLAIMS.generations(Generations::Counted);
}

/// Claims to count waiters.
#[derive(Debug)]
struct ClaimsToCountWaiters;

impl Sin for ClaimsToCountWaiters {
    const NAME: &'static str = "claims-to-count-waiters";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("listing::waiters_are_counted", "nobody waits")];
    const CLAIMS: Capabilities = reference::CLAIMS.waiters(Waiters::Counted);
}

/// Claims that the locks of the dead stay locked, and frees them: whoever relies on `break` is wrong then.
#[derive(Debug)]
struct ClaimsToBeStuck;

impl Sin for ClaimsToBeStuck {
    const NAME: &'static str = "claims-to-be-stuck";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::a_stuck_lock_stays_locked_after_a_death", "which is claimed to leave it locked")];
    const CLAIMS: Capabilities = reference::CLAIMS.owner_death(OwnerDeath::Stuck);
}
