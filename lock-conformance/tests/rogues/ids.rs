//! Wrong backends in which two ids share one lock, or which treat the last id incorrectly.

use std::collections::BTreeMap;
use std::sync::Arc;

use lock_core::{
    Acquired, Capabilities, Capacity, Deadline, Error, ErrorDetails, Label, LockId, Manager, OpenMode, Proof, RawLock,
    Reconciled, Result, StoreUrl,
};
use nix::errno::Errno;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, rarely};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<KeepsIdsAboveTheGreatest>(),
        rarely::<KeepsIdsAboveTheGreatest>(),
        faulty::<KeepsSixteenBitsOfAnId>(),
        rarely::<KeepsSixteenBitsOfAnId>(),
        faulty::<HasSixtyFourStripes>(),
        rarely::<HasSixtyFourStripes>(),
        faulty::<HasAThousandStripes>(),
        rarely::<HasAThousandStripes>(),
        faulty::<LacksTheLastSemaphore>(),
        rarely::<LacksTheLastSemaphore>(),
        faulty::<AcceptsTheCapacityAsAnId>(),
        faulty::<NeverAllocatesTheLastId>(),
        rarely::<NeverAllocatesTheLastId>(),
        faulty::<ReportsThatNothingIsAllocated>(),
        rarely::<ReportsThatNothingIsAllocated>(),
    ]
}

#[derive(Debug)]
struct KeepsIdsAboveTheGreatest;

impl Fault for KeepsIdsAboveTheGreatest {
    const NAME: &'static str = "keeps-ids-above-the-greatest";
    const FAULT: &'static str = "Does not free ids that are greater than all given ones when it reconciles";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "reconciling::ids_above_the_greatest_given_one_are_freed",
        "the only given id is 2, but other ids than the remaining ones were freed",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Reconcile];

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        let Some((greatest, _)) = ids.last_key_value() else { return honest.reconcile(ids) };
        let above = honest.allocated()?.into_iter().filter(|allocation| allocation.id > *greatest);
        honest.reconcile(&ids.clone().into_iter().chain(above.map(|allocation| (allocation.id, allocation.label))).collect())
    }
}

const ONE_LOCK: &[(&str, &str)] = &[("allocation::different_ids_are_different_locks", "two ids name one lock")];

#[derive(Debug)]
struct KeepsSixteenBitsOfAnId;

impl Fault for KeepsSixteenBitsOfAnId {
    const NAME: &'static str = "keeps-sixteen-bits-of-an-id";
    const FAULT: &'static str = "Names the file of a lock after the lower half of its id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = ONE_LOCK;
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(LockId::new(id.get() & 0xffff))
    }
}

#[derive(Debug)]
struct HasSixtyFourStripes;

impl Fault for HasSixtyFourStripes {
    const NAME: &'static str = "has-sixty-four-stripes";
    const FAULT: &'static str = "Maps all ids to 64 locks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = ONE_LOCK;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(LockId::new(id.get() % 64))
    }
}

#[derive(Debug)]
struct HasAThousandStripes;

impl Fault for HasAThousandStripes {
    const NAME: &'static str = "has-a-thousand-stripes";
    const FAULT: &'static str = "Maps all ids to 1000 locks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = ONE_LOCK;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(LockId::new(id.get() % 1000))
    }
}

#[derive(Debug)]
struct LacksTheLastSemaphore;

impl Fault for LacksTheLastSemaphore {
    const NAME: &'static str = "lacks-the-last-semaphore";
    const FAULT: &'static str = "Creates one semaphore too few, so that the last id has none";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::the_last_id_is_a_lock_between_processes", "semop: No such device")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let is_last = honest.capacity() == Some(u64::from(id.get()) + 1);
        if is_last { Ok(Arc::new(NoSemaphore)) } else { honest.lock(id) }
    }
}

#[derive(Debug)]
struct NoSemaphore;

impl RawLock for NoSemaphore {
    fn acquire(&self, _: Deadline) -> Result<Acquired> {
        Err(Error::system("semop", Errno::ENXIO))
    }

    fn release(&self, _: Proof) -> Result<()> {
        Err(Error::lost())
    }
}

/// The fixed capacity of a store.
const FIXED: u64 = 128;

// There is no rare variant, because the capacity is a constant of the store.
#[derive(Debug)]
struct AcceptsTheCapacityAsAnId;

impl Fault for AcceptsTheCapacityAsAnId {
    const NAME: &'static str = "accepts-the-capacity-as-an-id";
    const FAULT: &'static str = "Has one lock more than the reported capacity";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::the_capacity_is_exact", "it should have been OutOfRange")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.with_capacity(Capacity::Fixed);

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::open(&format!("{url}?capacity={}", FIXED + 1).parse()?, mode)
    }

    fn capacity(_: &dyn Manager) -> Option<u64> {
        Some(FIXED)
    }
}

#[derive(Debug)]
struct NeverAllocatesTheLastId;

impl Fault for NeverAllocatesTheLastId {
    const NAME: &'static str = "never-hands-out-the-last-id";
    const FAULT: &'static str = "Never allocates the last id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("allocation::the_capacity_is_exact", "and not 0 to 127")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_capacity(Capacity::Fixed);
    const RARE: &'static [Operation] = &[Operation::Allocate];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        match honest.available()? {
            Some(1) => Err(Error::exhausted(FIXED, FIXED - 1)),
            _ => honest.allocate(label),
        }
    }
}

#[derive(Debug)]
struct ReportsThatNothingIsAllocated;

impl Fault for ReportsThatNothingIsAllocated {
    const NAME: &'static str = "says-that-nothing-is-allocated";
    const FAULT: &'static str = "Reports that no id is allocated when the store is full";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::the_capacity_is_exact", "the error has the wrong capacity or count")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.with_capacity(Capacity::Fixed);
    const RARE: &'static [Operation] = &[Operation::Allocate];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if url.as_str().contains("capacity=") {
            return Err(Error::bad_url(url.as_str().to_owned(), "the capacity is fixed"));
        }
        reference::open(url, mode)
    }

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        honest.allocate(label).map_err(|error| match error.details() {
            ErrorDetails::Exhausted { capacity, .. } => Error::exhausted(*capacity, 0),
            _ => error,
        })
    }
}
