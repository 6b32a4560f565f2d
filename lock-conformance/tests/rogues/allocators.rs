//! Rogues that hand out and take back ids wrongly.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lock_core::{ErrorKind, Label, LockId, Manager, RawLock, Reconciled, Result, StoreUrl};

use super::Sinner;
use super::sin::{Sin, sinner};

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<HandsOutTwice>(),
        sinner::<HandsOutInARace>(),
        sinner::<FullTooEarly>(),
        sinner::<GivesAnotherLock>(),
        sinner::<AcceptsDoubleFree>(),
        sinner::<FreesTheLockWithTheId>(),
        sinner::<LosesTheIdsOfTheDead>(),
        sinner::<TakesIdsThatAreTaken>(),
        sinner::<ReconcilesHalf>(),
    ]
}

#[derive(Debug)]
struct HandsOutTwice;

impl Sin for HandsOutTwice {
    const NAME: &'static str = "hands-out-twice";
    const FAULT: &'static str = "Hands one id out to every caller";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::two_allocations_differ", "one id was allocated twice"),
        ("allocation::a_store_hands_out_each_id_once_and_then_is_full", "an id was allocated twice"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        let first = LockId::new(0);
        if honest.allocated()?.iter().any(|allocation| allocation.id == first) {
            return Ok(first);
        }
        honest.allocate(label)
    }
}

#[derive(Debug)]
struct HandsOutInARace;

impl Sin for HandsOutInARace {
    const NAME: &'static str = "hands-out-in-a-race";
    const FAULT: &'static str = "Finds a free id, and marks it in a second step";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::racing_processes_never_share_an_id", "belonged to two threads at the same time"),
        ("allocation::one_of_those_who_race_for_an_id_wins", "won the race for the id"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        let taken: BTreeSet<_> = honest.allocated()?.into_iter().map(|allocation| allocation.id).collect();
        let free = (0..).map(LockId::new).find(|id| !taken.contains(id)).expect("ids do not end");
        mark_without_looking(honest, free, label)?;
        Ok(free)
    }

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        if honest.allocated()?.iter().any(|allocation| allocation.id == id) {
            return Err(ErrorKind::AlreadyAllocated.into());
        }
        mark_without_looking(honest, id, label)
    }

    fn free(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<()> {
        match honest.free(id, None) {
            Err(error) if matches!(error.kind(), ErrorKind::NotAllocated) => Ok(()),
            other => other,
        }
    }
}

fn mark_without_looking(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
    std::thread::yield_now();
    match honest.allocate_exact(id, label) {
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyAllocated) => Ok(()),
        other => other,
    }
}

#[derive(Debug)]
struct FullTooEarly;

impl Sin for FullTooEarly {
    const NAME: &'static str = "full-too-early";
    const FAULT: &'static str = "Says that the store is full when one id is left";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::a_store_hands_out_each_id_once_and_then_is_full", "allocates the ids 0 to 127"),
        ("allocation::exhaustion_says_the_capacity_and_the_count", "full when all ids are allocated"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        match (honest.available()?, honest.capacity()) {
            (Some(1), Some(capacity)) => Err(ErrorKind::Exhausted { capacity, allocated: capacity - 1 }.into()),
            _ => honest.allocate(label),
        }
    }
}

#[derive(Debug)]
struct GivesAnotherLock;

static JUST_ALLOCATED: AtomicU32 = AtomicU32::new(u32::MAX);

impl Sin for GivesAnotherLock {
    const NAME: &'static str = "gives-another-lock";
    const FAULT: &'static str = "Gives the caller of allocate a handle of another lock than retrieve does";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::an_id_names_the_same_lock_to_everybody", "although the thread that allocated it holds it"),
        ("exclusion::handles::a_held_lock_is_busy", "although another thread holds it"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        let id = honest.allocate(label)?;
        JUST_ALLOCATED.store(id.get(), Ordering::Relaxed);
        Ok(id)
    }

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let allocated = JUST_ALLOCATED.swap(u32::MAX, Ordering::Relaxed) == id.get();
        honest.lock(if allocated { LockId::new(id.get() + 64) } else { id })
    }
}

#[derive(Debug)]
struct AcceptsDoubleFree;

impl Sin for AcceptsDoubleFree {
    const NAME: &'static str = "accepts-double-free";
    const FAULT: &'static str = "Frees an id that is free";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("freeing::a_double_free_is_refused_and_changes_nothing", "it should have been NotAllocated"),
        ("freeing::freeing_what_is_not_allocated_is_refused_and_changes_nothing", "it should have been NotAllocated"),
    ];

    fn free(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<()> {
        match honest.free(id, None) {
            Err(error) if matches!(error.kind(), ErrorKind::NotAllocated) => Ok(()),
            other => other,
        }
    }
}

#[derive(Debug)]
struct FreesTheLockWithTheId;

impl Sin for FreesTheLockWithTheId {
    const NAME: &'static str = "frees-the-lock-with-the-id";
    const FAULT: &'static str =
        "Removes the lock's file with the id, as podman's file locks do, so that the next user locks another file";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("freeing::a_lock_that_is_freed_while_held_stays_held", "although its id was freed, but its owner still holds it"),
        (
            "freeing::a_lock_that_is_freed_and_allocated_again_stays_held",
            "although its id was allocated again, but its owner still holds it",
        ),
    ];

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let _ = fs::remove_file(format!("{}/locks/{id}", url.place()));
        honest.free(id, None)
    }
}

#[derive(Debug)]
struct LosesTheIdsOfTheDead;

impl Sin for LosesTheIdsOfTheDead {
    const NAME: &'static str = "loses-the-ids-of-the-dead";
    const FAULT: &'static str = "Hands out the ids of processes that have ended";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::an_id_outlives_the_process_that_allocated_it", "the id of a dead process was allocated again")];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        for allocation in honest.allocated()? {
            let dead = allocation.allocator.is_some_and(|holder| fs::metadata(format!("/proc/{}", holder.pid)).is_err());
            if dead {
                honest.free(allocation.id, None)?;
            }
        }
        honest.allocate(label)
    }
}

#[derive(Debug)]
struct TakesIdsThatAreTaken;

impl Sin for TakesIdsThatAreTaken {
    const NAME: &'static str = "takes-ids-that-are-taken";
    const FAULT: &'static str = "Allocates a given id that is allocated";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::a_given_id_is_marked_in_use", "it should have been AlreadyAllocated")];

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        mark_without_looking(honest, id, label)
    }
}

#[derive(Debug)]
struct ReconcilesHalf;

impl Sin for ReconcilesHalf {
    const NAME: &'static str = "reconciles-half";
    const FAULT: &'static str = "Allocates ids when it reconciles, and frees none";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::exactly_the_given_ids_are_allocated", "it freed other ids than the surplus ones")];

    fn reconcile(honest: &dyn Manager, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        let kept = honest.allocated()?.into_iter().map(|allocation| allocation.id);
        honest.reconcile(&kept.chain(ids.iter().copied()).collect())
    }
}
