//! Wrong backends that raise the capacity of a store incorrectly.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Deadline, Error, Growth, Holder, Label, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl,
};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<RemembersTheCapacity>(),
        faulty::<CountsTheFirstIds>(),
        faulty::<IsFullForEver>(),
        faulty::<ReleasesWhenItGrows>(),
        faulty::<ForgetsDeathsOfNewIds>(),
        faulty::<CopiesIdsWithoutLabels>(),
        faulty::<NamesByCapacity>(),
        faulty::<AcceptsASmallerCapacity>(),
        faulty::<KeepsTheBound>(),
        faulty::<TheLatestWins>(),
        faulty::<GrowsInTwoSteps>(),
        faulty::<RefusesTheFirstCapacity>(),
        faulty::<GrowsWithoutClaim>(),
    ]
}

/// The capacity of this process's store when the process opened it; 0 for none.
static OPENED: AtomicU64 = AtomicU64::new(0);

fn remember(opened: Arc<dyn Manager>) -> Arc<dyn Manager> {
    OPENED.store(opened.capacity().unwrap_or(0), Relaxed);
    opened
}

fn writes(url: &StoreUrl, name: &str, text: impl ToString) -> Result<()> {
    fs::write(url.location().join(name), text.to_string()).map_err(|error| Error::system("write", error))
}

#[derive(Debug)]
struct RemembersTheCapacity;

impl Fault for RemembersTheCapacity {
    const NAME: &'static str = "remembers-the-capacity";
    const FAULT: &'static str = "Reads the capacity once, when the process opens the store or raises it itself";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::all_processes_see_a_raised_capacity", "sees an earlier capacity")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        Ok(remember(reference::open(url, mode)?))
    }

    fn capacity(honest: &dyn Manager) -> Option<u64> {
        honest.capacity().map(|_| OPENED.load(Relaxed))
    }

    fn grow(honest: &dyn Manager, _: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        honest.grow(capacity)?;
        OPENED.store(capacity.unwrap_or(0), Relaxed);
        Ok(())
    }
}

#[derive(Debug)]
struct CountsTheFirstIds;

impl Fault for CountsTheFirstIds {
    const NAME: &'static str = "counts-the-first-ids";
    const FAULT: &'static str = "Counts the free ids below the capacity at the opening";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::all_processes_see_a_raised_capacity", "counts other free ids")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        Ok(remember(reference::open(url, mode)?))
    }

    fn available(honest: &dyn Manager) -> Result<Option<u64>> {
        let opened = OPENED.load(Relaxed);
        Ok(honest.available()?.map(|free| free.min(opened)))
    }
}

#[derive(Debug)]
struct IsFullForEver;

impl Fault for IsFullForEver {
    const NAME: &'static str = "is-full-for-ever";
    const FAULT: &'static str = "Allocates only ids that the process knew when it opened the store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::a_full_store_continues_when_its_capacity_is_raised", "Exhausted")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        Ok(remember(reference::open(url, mode)?))
    }

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        let (opened, allocated) = (OPENED.load(Relaxed), honest.allocated()?.len() as u64);
        if opened != 0 && allocated >= opened {
            return Err(Error::exhausted(opened, allocated));
        }
        honest.allocate(label)
    }
}

#[derive(Debug)]
struct ReleasesWhenItGrows;

impl Fault for ReleasesWhenItGrows {
    const NAME: &'static str = "releases-when-it-grows";
    const FAULT: &'static str = "Considers a lock free if its owner acquired it before the capacity was raised";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::locks_stay_held_and_waited_for_while_the_capacity_is_raised", "before the capacity was raised")];

    fn grow(honest: &dyn Manager, url: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        honest.grow(capacity)?;
        writes(url, "grown", "")
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let is_grown = url.location().join("grown").exists();
        Ok(Arc::new(Opened { honest: honest.lock(id)?, is_grown }))
    }
}

/// A lock whose handle was made before or after the store has grown.
#[derive(Debug)]
struct Opened {
    honest: Arc<dyn RawLock>,
    is_grown: bool,
}

impl RawLock for Opened {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        if !self.is_grown {
            return self.honest.acquire(deadline);
        }
        Ok(match self.honest.acquire(Deadline::Now)? {
            Acquired::TimedOut => Acquired::Held { token: u64::MAX },
            acquired => acquired,
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct ForgetsDeathsOfNewIds;

impl Fault for ForgetsDeathsOfNewIds {
    const NAME: &'static str = "forgets-deaths-of-new-ids";
    const FAULT: &'static str = "Does not report the death of the owner of an id beyond the capacity at the opening";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::the_death_of_an_owner_of_a_new_id_is_reported", "was not reported")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        Ok(remember(reference::open(url, mode)?))
    }

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let (honest, opened) = (honest.lock(id)?, OPENED.load(Relaxed));
        Ok(if opened == 0 || u64::from(id.get()) < opened { honest } else { Arc::new(Silent(honest)) })
    }
}

#[derive(Debug)]
struct Silent(Arc<dyn RawLock>);

impl RawLock for Silent {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(match self.0.acquire(deadline)? {
            Acquired::Recovered(recovery) => Acquired::Held { token: recovery.token },
            acquired => acquired,
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.0.holder()
    }
}

#[derive(Debug)]
struct CopiesIdsWithoutLabels;

impl Fault for CopiesIdsWithoutLabels {
    const NAME: &'static str = "copies-ids-without-labels";
    const FAULT: &'static str = "Frees all ids when it grows, and allocates them again without their labels";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::allocations_stay_when_the_capacity_is_raised", "allocations have changed")];

    fn grow(honest: &dyn Manager, _: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        let allocated: Vec<_> = honest.allocated()?.into_iter().map(|allocation| allocation.id).collect();
        honest.free_all()?;
        honest.grow(capacity)?;
        allocated.into_iter().try_for_each(|id| honest.allocate_exact(id, &Label::default()))
    }
}

#[derive(Debug)]
struct NamesByCapacity;

impl Fault for NamesByCapacity {
    const NAME: &'static str = "names-by-capacity";
    const FAULT: &'static str = "Searches for a name in a place that depends on the present capacity";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::names_lead_to_the_same_locks_when_the_capacity_is_raised", "the capacity was raised")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        let capacity = honest.capacity().unwrap_or(0);
        Ok(honest.named(&Label::new(format!("{capacity} {name}"))?)?.0)
    }
}

#[derive(Debug)]
struct AcceptsASmallerCapacity;

impl Fault for AcceptsASmallerCapacity {
    const NAME: &'static str = "accepts-a-smaller-capacity";
    const FAULT: &'static str = "Ignores a capacity that is smaller than the present one";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::a_smaller_capacity_is_refused_with_both_numbers", "it should have been OtherCapacity")];

    fn grow(honest: &dyn Manager, _: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        let is_smaller = |asked: u64| honest.capacity().is_none_or(|present| asked < present);
        if capacity.is_some_and(is_smaller) { Ok(()) } else { honest.grow(capacity) }
    }
}

#[derive(Debug)]
struct KeepsTheBound;

impl Fault for KeepsTheBound {
    const NAME: &'static str = "keeps-the-bound";
    const FAULT: &'static str = "Raises the capacity to the greatest number when the bound should be removed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("raising::the_bound_is_removed", "a bound that was removed")];

    fn grow(honest: &dyn Manager, _: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        honest.grow(Some(capacity.unwrap_or(u32::MAX.into())))
    }
}

#[derive(Debug)]
struct TheLatestWins;

impl Fault for TheLatestWins {
    const NAME: &'static str = "the-latest-wins";
    const FAULT: &'static str = "Compares the capacities, and stores the new one in a separate step";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::of_several_processes_that_raise_the_capacity_the_greatest_wins", "did not win")];

    fn capacity(honest: &dyn Manager) -> Option<u64> {
        let stored = place().and_then(|url| fs::read_to_string(url.location().join("stored")).ok());
        stored.and_then(|stored| stored.parse().ok()).or_else(|| honest.capacity())
    }

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
        reference::open(url, mode)
    }

    fn grow(honest: &dyn Manager, url: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        let (present, asked) = (Self::capacity(honest).unwrap_or(0), capacity.unwrap_or(LockId::LIMIT));
        if asked < present {
            return Err(Error::other_capacity(present.to_string(), asked.to_string()));
        }
        thread::sleep(Duration::from_micros(200));
        let temporary = format!("stored-{}", std::process::id());
        writes(url, &temporary, asked)?;
        let [from, to] = [&*temporary, "stored"].map(|name| url.location().join(name));
        fs::rename(from, to).map_err(|error| Error::system("rename", error))
    }
}

/// The URL of the store that this process opened most recently.
static PLACE: Mutex<Option<StoreUrl>> = Mutex::new(None);

fn place() -> Option<StoreUrl> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[derive(Debug)]
struct GrowsInTwoSteps;

impl Fault for GrowsInTwoSteps {
    const NAME: &'static str = "grows-in-two-steps";
    const FAULT: &'static str = "Removes the allocations while the capacity is raised, and puts them back afterwards";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "raising::a_process_killed_while_it_raises_the_capacity_leaves_the_store_sound",
        "ids are missing after a process that raised the capacity was killed",
    )];

    fn grow(honest: &dyn Manager, _: &StoreUrl, capacity: Option<u64>) -> Result<()> {
        let all: BTreeMap<_, _> = honest.allocated()?.into_iter().map(|allocation| (allocation.id, allocation.label)).collect();
        honest.free_all()?;
        thread::sleep(Duration::from_micros(300));
        honest.grow(capacity)?;
        honest.reconcile(&all).map(drop)
    }
}

#[derive(Debug)]
struct RefusesTheFirstCapacity;

impl Fault for RefusesTheFirstCapacity {
    const NAME: &'static str = "refuses-the-first-capacity";
    const FAULT: &'static str = "Refuses a URL with the capacity that the store had before it was raised";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::earlier_and_later_capacities_open_the_store", "OtherCapacity")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let opened = reference::open(url, mode)?;
        match (url.options().take::<u64>("capacity"), opened.capacity()) {
            (Ok(Some(asked)), Some(present)) if asked != present => {
                Err(Error::other_capacity(present.to_string(), asked.to_string()))
            }
            _ => Ok(opened),
        }
    }
}

#[derive(Debug)]
struct GrowsWithoutClaim;

impl Fault for GrowsWithoutClaim {
    const NAME: &'static str = "grows-without-a-claim";
    const FAULT: &'static str = "Raises the capacity, but does not claim that it can";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("raising::raising_the_capacity_is_refused", "it should have been Unsupported")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.with_growth(Growth::Unsupported);
}
