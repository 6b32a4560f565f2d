//! Wrong backends that allocate and free ids incorrectly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lock_core::{Error, ErrorKind, Label, LockId, Manager, RawLock, Reconciled, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<AllocatesTwice>(),
        faulty::<AllocatesInARace>(),
        faulty::<FullTooEarly>(),
        faulty::<GivesAnotherLock>(),
        faulty::<AcceptsDoubleFree>(),
        faulty::<FreesTheLockWithTheId>(),
        faulty::<LosesTheIdsOfTheDead>(),
        faulty::<TakesIdsThatAreTaken>(),
        faulty::<ReconcilesHalf>(),
    ]
}

#[derive(Debug)]
struct AllocatesTwice;

impl Fault for AllocatesTwice {
    const NAME: &'static str = "hands-out-twice";
    const FAULT: &'static str = "Returns the same id for every allocation";
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
struct AllocatesInARace;

impl Fault for AllocatesInARace {
    const NAME: &'static str = "hands-out-in-a-race";
    const FAULT: &'static str = "Searches for a free id and allocates it in a separate step";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::racing_processes_never_share_an_id", "belonged to two threads at the same time"),
        ("allocation::one_of_those_who_race_for_an_id_wins", "won the race for the id"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        let taken: BTreeSet<_> = honest.allocated()?.into_iter().map(|allocation| allocation.id).collect();
        let free = (0..).map(LockId::new).find(|id| !taken.contains(id)).expect("an infinite range of ids contains a free one");
        mark_allocated(honest, free, label)?;
        Ok(free)
    }

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        if honest.allocated()?.iter().any(|allocation| allocation.id == id) {
            return Err(Error::already_allocated());
        }
        mark_allocated(honest, id, label)
    }

    fn free(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<()> {
        match honest.free(id, None) {
            Err(error) if matches!(error.kind(), ErrorKind::NotAllocated) => Ok(()),
            other => other,
        }
    }
}

fn mark_allocated(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
    std::thread::yield_now();
    match honest.allocate_exact(id, label) {
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyAllocated) => Ok(()),
        other => other,
    }
}

#[derive(Debug)]
struct FullTooEarly;

impl Fault for FullTooEarly {
    const NAME: &'static str = "full-too-early";
    const FAULT: &'static str = "Reports a full store when one id is still free";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::a_store_hands_out_each_id_once_and_then_is_full", "allocates the ids 0 to 127"),
        ("allocation::exhaustion_says_the_capacity_and_the_count", "full when all ids are allocated"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        match (honest.available()?, honest.capacity()) {
            (Some(1), Some(capacity)) => Err(Error::exhausted(capacity, capacity - 1)),
            _ => honest.allocate(label),
        }
    }
}

#[derive(Debug)]
struct GivesAnotherLock;

static LAST_ALLOCATED: AtomicU32 = AtomicU32::new(u32::MAX);

impl Fault for GivesAnotherLock {
    const NAME: &'static str = "gives-another-lock";
    const FAULT: &'static str = "Returns a handle of another lock from allocate than from retrieve";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::an_id_names_the_same_lock_to_everybody", "although the thread that allocated it holds it"),
        ("exclusion::handles::a_held_lock_is_busy", "although another thread holds it"),
    ];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        let id = honest.allocate(label)?;
        LAST_ALLOCATED.store(id.get(), Ordering::Relaxed);
        Ok(id)
    }

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let allocated = LAST_ALLOCATED.swap(u32::MAX, Ordering::Relaxed) == id.get();
        honest.lock(if allocated { LockId::new(id.get() + 64) } else { id })
    }
}

#[derive(Debug)]
struct AcceptsDoubleFree;

impl Fault for AcceptsDoubleFree {
    const NAME: &'static str = "accepts-double-free";
    const FAULT: &'static str = "Reports no error when it frees an id that is not allocated";
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

impl Fault for FreesTheLockWithTheId {
    const NAME: &'static str = "frees-the-lock-with-the-id";
    const FAULT: &'static str =
        "Removes the lock's file when the id is freed, as podman's file locks do, so that the next user locks another file";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("freeing::a_lock_that_is_freed_while_held_stays_held", "although its id was freed, but its owner still holds it"),
        (
            "freeing::a_lock_that_is_freed_and_allocated_again_stays_held",
            "although its id was allocated again, but its owner still holds it",
        ),
    ];

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let _ = fs::remove_file(format!("{}/locks/{id}", url.location().display()));
        honest.free(id, None)
    }
}

#[derive(Debug)]
struct LosesTheIdsOfTheDead;

impl Fault for LosesTheIdsOfTheDead {
    const NAME: &'static str = "loses-the-ids-of-the-dead";
    const FAULT: &'static str = "Allocates ids again after the allocating process has ended";
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

impl Fault for TakesIdsThatAreTaken {
    const NAME: &'static str = "takes-ids-that-are-taken";
    const FAULT: &'static str = "Reports no error when it allocates a given id that is already allocated";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::a_given_id_is_marked_in_use", "it should have been AlreadyAllocated")];

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        mark_allocated(honest, id, label)
    }
}

#[derive(Debug)]
struct ReconcilesHalf;

impl Fault for ReconcilesHalf {
    const NAME: &'static str = "reconciles-half";
    const FAULT: &'static str = "Reconciles by allocating missing ids, without freeing any";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::exactly_the_given_ids_are_allocated", "it freed other ids than the surplus ones")];

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        let kept = honest.allocated()?.into_iter().map(|allocation| (allocation.id, allocation.label));
        honest.reconcile(&kept.chain(ids.clone()).collect())
    }
}
