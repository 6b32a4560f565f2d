//! Backends in which two ids name one lock, or which are wrong about the last id.

use std::collections::BTreeSet;
use std::sync::Arc;

use lock_core::{
    Acquired, Capabilities, Capacity, Deadline, Error, ErrorKind, Label, LockId, Manager, OpenMode, Proof, RawLock, Reconciled,
    Result, StoreUrl,
};
use nix::errno::Errno;

use super::Sinner;
use super::rarely::{Operation, rarely};
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<KeepsIdsAboveTheGreatest>(),
        rarely::<KeepsIdsAboveTheGreatest>(),
        sinner::<KeepsSixteenBitsOfAnId>(),
        rarely::<KeepsSixteenBitsOfAnId>(),
        sinner::<HasSixtyFourStripes>(),
        rarely::<HasSixtyFourStripes>(),
        sinner::<HasAThousandStripes>(),
        rarely::<HasAThousandStripes>(),
        sinner::<LacksTheLastSemaphore>(),
        rarely::<LacksTheLastSemaphore>(),
        sinner::<AcceptsTheCapacityAsAnId>(),
        sinner::<NeverHandsOutTheLastId>(),
        rarely::<NeverHandsOutTheLastId>(),
        sinner::<SaysThatNothingIsAllocated>(),
        rarely::<SaysThatNothingIsAllocated>(),
    ]
}

#[derive(Debug)]
struct KeepsIdsAboveTheGreatest;

impl Sin for KeepsIdsAboveTheGreatest {
    const NAME: &'static str = "keeps-ids-above-the-greatest";
    const FAULT: &'static str = "Frees no id that is greater than all given ones";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "reconciling::ids_above_the_greatest_given_one_are_freed",
        "the only given id is 2, but other ids than the remaining ones were freed",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Reconcile];

    fn reconcile(honest: &dyn Manager, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        let Some(greatest) = ids.last() else { return honest.reconcile(ids) };
        let above = honest.allocated()?.into_iter().map(|allocation| allocation.id).filter(|id| id > greatest);
        honest.reconcile(&ids.iter().copied().chain(above).collect())
    }
}

const ONE_LOCK: &[(&str, &str)] = &[("allocation::different_ids_are_different_locks", "two ids name one lock")];

#[derive(Debug)]
struct KeepsSixteenBitsOfAnId;

impl Sin for KeepsSixteenBitsOfAnId {
    const NAME: &'static str = "keeps-sixteen-bits-of-an-id";
    const FAULT: &'static str = "Names the file of a lock by the lower half of its id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = ONE_LOCK;
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(LockId::new(id.get() & 0xffff))
    }
}

#[derive(Debug)]
struct HasSixtyFourStripes;

impl Sin for HasSixtyFourStripes {
    const NAME: &'static str = "has-sixty-four-stripes";
    const FAULT: &'static str = "Has 64 locks for all ids";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = ONE_LOCK;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(LockId::new(id.get() % 64))
    }
}

#[derive(Debug)]
struct HasAThousandStripes;

impl Sin for HasAThousandStripes {
    const NAME: &'static str = "has-a-thousand-stripes";
    const FAULT: &'static str = "Has 1000 locks for all ids";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = ONE_LOCK;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(LockId::new(id.get() % 1000))
    }
}

#[derive(Debug)]
struct LacksTheLastSemaphore;

impl Sin for LacksTheLastSemaphore {
    const NAME: &'static str = "lacks-the-last-semaphore";
    const FAULT: &'static str = "Makes one semaphore too few, so that the last id has none";
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
        Err(ErrorKind::Lost.into())
    }
}

/// The capacity of a store whose creator cannot choose it.
const FIXED: u64 = 128;

// No sibling is wrong rarely: the capacity is a constant of the store.
#[derive(Debug)]
struct AcceptsTheCapacityAsAnId;

impl Sin for AcceptsTheCapacityAsAnId {
    const NAME: &'static str = "accepts-the-capacity-as-an-id";
    const FAULT: &'static str = "Has one lock more than it says";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::the_capacity_is_exact", "it should have been OutOfRange")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.capacity(Capacity::Fixed);

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::open(&format!("{url}?capacity={}", FIXED + 1).parse()?, mode)
    }

    fn capacity(_: &dyn Manager) -> Option<u64> {
        Some(FIXED)
    }
}

#[derive(Debug)]
struct NeverHandsOutTheLastId;

impl Sin for NeverHandsOutTheLastId {
    const NAME: &'static str = "never-hands-out-the-last-id";
    const FAULT: &'static str = "Never hands out the last id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("allocation::the_capacity_is_exact", "and not 0 to 127")];
    const CLAIMS: Capabilities = reference::CLAIMS.capacity(Capacity::Fixed);
    const RARE: &'static [Operation] = &[Operation::Allocate];

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        match honest.available()? {
            Some(1) => Err(ErrorKind::Exhausted { capacity: FIXED, allocated: FIXED - 1 }.into()),
            _ => honest.allocate(label),
        }
    }
}

#[derive(Debug)]
struct SaysThatNothingIsAllocated;

impl Sin for SaysThatNothingIsAllocated {
    const NAME: &'static str = "says-that-nothing-is-allocated";
    const FAULT: &'static str = "Says that no id is allocated when it is full";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::the_capacity_is_exact", "the error has the wrong capacity or count")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.capacity(Capacity::Fixed);
    const RARE: &'static [Operation] = &[Operation::Allocate];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if url.as_str().contains("capacity=") {
            return Err(ErrorKind::BadUrl { url: url.as_str().to_owned(), reason: "the capacity is fixed".to_owned() }.into());
        }
        reference::open(url, mode)
    }

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        honest.allocate(label).map_err(|error| match error.kind() {
            ErrorKind::Exhausted { capacity, .. } => ErrorKind::Exhausted { capacity: *capacity, allocated: 0 }.into(),
            _ => error,
        })
    }
}
