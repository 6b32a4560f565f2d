//! Wrong backends that find locks by name incorrectly.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{Allocation, Capabilities, Error, Generations, Label, LockId, Manager, Names, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<AllocatesForEachCall>(),
        faulty::<ComparesTheStartOfNames>(),
        faulty::<NamesInARace>(),
        faulty::<FindsLabels>(),
        faulty::<KeepsNamesOfFreedIds>(),
        faulty::<CountsNoGenerations>(),
        faulty::<ForgetsNamesOfTheDead>(),
        faulty::<FindsLowIdsOnly>(),
        faulty::<FindsNoNameWhenFull>(),
        faulty::<NeverNamesTheLastFreeId>(),
        faulty::<NamesInTwoSteps>(),
        faulty::<IsBlockedByADeadProcess>(),
        faulty::<NamesWithoutClaim>(),
        faulty::<ListsNoNames>(),
    ]
}

/// Returns the allocation of a name.
fn find(honest: &dyn Manager, name: &Label) -> Result<Option<Allocation>> {
    Ok(honest.allocated()?.into_iter().find(|allocation| allocation.is_named && allocation.label == *name))
}

#[derive(Debug)]
struct AllocatesForEachCall;

impl Fault for AllocatesForEachCall {
    const NAME: &'static str = "allocates-for-each-call";
    const FAULT: &'static str = "Allocates an id whenever a name is asked for";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_name_leads_to_one_lock_in_all_processes", "a name leads to another id than before")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        honest.allocate(name)
    }
}

#[derive(Debug)]
struct ComparesTheStartOfNames;

impl Fault for ComparesTheStartOfNames {
    const NAME: &'static str = "compares-the-start-of-names";
    const FAULT: &'static str = "Compares the first 32 bytes of names";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::different_names_are_different_locks", "different names lead to one id")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        Ok(honest.named(&Label::new(name.as_str().chars().take(32).collect::<String>())?)?.0)
    }
}

#[derive(Debug)]
struct NamesInARace;

impl Fault for NamesInARace {
    const NAME: &'static str = "names-in-a-race";
    const FAULT: &'static str = "Searches for a name and allocates it in a separate step";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("names::processes_that_race_for_names_get_the_same_locks", "raced for a new name got different ids"),
        ("names::threads_that_race_for_names_get_the_same_locks", "raced for a new name got different ids"),
    ];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        let known = honest.allocated()?.into_iter().find(|allocation| allocation.label == *name);
        thread::yield_now();
        known.map_or_else(|| honest.allocate(name), |allocation| Ok(allocation.id))
    }
}

#[derive(Debug)]
struct FindsLabels;

impl Fault for FindsLabels {
    const NAME: &'static str = "finds-labels";
    const FAULT: &'static str = "Finds any allocation whose label equals the name";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_label_is_not_a_name", "allocated with the same label, but not by name")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        let known = honest.allocated()?.into_iter().find(|allocation| allocation.label == *name);
        known.map_or_else(|| Ok(honest.named(name)?.0), |allocation| Ok(allocation.id))
    }
}

#[derive(Debug)]
struct KeepsNamesOfFreedIds;

static FOUND: Mutex<BTreeMap<String, LockId>> = Mutex::new(BTreeMap::new());

impl Fault for KeepsNamesOfFreedIds {
    const NAME: &'static str = "keeps-names-of-freed-ids";
    const FAULT: &'static str = "Caches the id of a name, also after it is freed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_freed_name_is_allocated_again", "the id of a name that was freed is not allocated again")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = found.get(name.as_str()) {
            return Ok(*id);
        }
        let id = honest.named(name)?.0;
        found.insert(name.as_str().to_owned(), id);
        Ok(id)
    }
}

// The backend claims generations, but its handles have none, so that no handle is stale.
#[derive(Debug)]
struct CountsNoGenerations;

impl Fault for CountsNoGenerations {
    const NAME: &'static str = "counts-no-generations-of-names";
    const FAULT: &'static str = "Does not notice that the id of a name was freed and allocated again";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_handle_of_a_freed_name_is_stale", "it should have been Stale")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_generations(Generations::Counted);
}

#[derive(Debug)]
struct ForgetsNamesOfTheDead;

impl Fault for ForgetsNamesOfTheDead {
    const NAME: &'static str = "forgets-names-of-the-dead";
    const FAULT: &'static str = "Does not find a name whose allocating process has ended";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_name_outlives_the_process_that_allocated_it", "names lead to other ids after the process")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        let lives = |allocation: &Allocation| {
            allocation.allocator.as_ref().is_none_or(|holder| fs::metadata(format!("/proc/{}", holder.pid)).is_ok())
        };
        match find(honest, name)? {
            Some(known) if !lives(&known) => honest.allocate(name),
            _ => Ok(honest.named(name)?.0),
        }
    }
}

#[derive(Debug)]
struct FindsLowIdsOnly;

impl Fault for FindsLowIdsOnly {
    const NAME: &'static str = "finds-low-ids-only";
    const FAULT: &'static str = "Searches for a name among the first 256 ids";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::names_are_found_among_many_ids", "names lead to other ids than before, beside many allocated ids")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        match find(honest, name)? {
            Some(known) if known.id.get() >= 256 => honest.allocate(name),
            _ => Ok(honest.named(name)?.0),
        }
    }
}

#[derive(Debug)]
struct FindsNoNameWhenFull;

impl Fault for FindsNoNameWhenFull {
    const NAME: &'static str = "finds-no-name-when-full";
    const FAULT: &'static str = "Refuses every name when the store is full";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_full_store_refuses_new_names_and_finds_the_others", "a full store does not find the names that it has")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        match (honest.available()?, honest.capacity()) {
            (Some(0), Some(capacity)) => Err(Error::exhausted(capacity, capacity)),
            _ => Ok(honest.named(name)?.0),
        }
    }
}

#[derive(Debug)]
struct NeverNamesTheLastFreeId;

impl Fault for NeverNamesTheLastFreeId {
    const NAME: &'static str = "never-names-the-last-free-id";
    const FAULT: &'static str = "Refuses a new name when one id is still free";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::names_use_every_free_id", "a store of 130 locks allocates the ids 0 to 129")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        match (honest.available()?, honest.capacity()) {
            (Some(1), Some(capacity)) if find(honest, name)?.is_none() => Err(Error::exhausted(capacity, capacity - 1)),
            _ => Ok(honest.named(name)?.0),
        }
    }
}

#[derive(Debug)]
struct NamesInTwoSteps;

impl Fault for NamesInTwoSteps {
    const NAME: &'static str = "names-in-two-steps";
    const FAULT: &'static str = "Allocates an id, and gives it its name in a second step";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::processes_that_are_killed_leave_no_incomplete_name", "a killed process left the id")];

    fn named(honest: &dyn Manager, _: &StoreUrl, name: &Label) -> Result<LockId> {
        if let Some(known) = find(honest, name)? {
            return Ok(known.id);
        }
        let unnamed = honest.allocate(&Label::new("without a name")?)?;
        thread::sleep(Duration::from_micros(200));
        let id = honest.named(name)?.0;
        honest.free(unnamed, None)?;
        Ok(id)
    }
}

#[derive(Debug)]
struct IsBlockedByADeadProcess;

impl Fault for IsBlockedByADeadProcess {
    const NAME: &'static str = "is-blocked-by-a-dead-namer";
    const FAULT: &'static str = "Waits for a process that was killed while it allocated a name";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("names::a_killed_process_does_not_block_names", "watchdog")];

    fn named(honest: &dyn Manager, url: &StoreUrl, name: &Label) -> Result<LockId> {
        let claim = url.location().join("naming");
        while File::create_new(&claim).is_err() {
            thread::sleep(Duration::from_micros(100));
        }
        let found = honest.named(name);
        // Most kills come here.
        thread::sleep(Duration::from_micros(500));
        let _ = fs::remove_file(&claim);
        Ok(found?.0)
    }
}

#[derive(Debug)]
struct NamesWithoutClaim;

impl Fault for NamesWithoutClaim {
    const NAME: &'static str = "names-without-a-claim";
    const FAULT: &'static str = "Finds locks by name, but does not claim that it can";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_name_is_refused_and_allocates_nothing", "it should have been Unsupported")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.with_names(Names::Unsupported);
}

#[derive(Debug)]
struct ListsNoNames;

impl Fault for ListsNoNames {
    const NAME: &'static str = "lists-no-names";
    const FAULT: &'static str = "Stores each name in a separate file, and lists its id without a label";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("names::a_name_is_listed_as_the_label", "the list has another label of the id")];

    fn named(honest: &dyn Manager, url: &StoreUrl, name: &Label) -> Result<LockId> {
        let hash = name.as_str().bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let file = url.location().join(format!("name-{hash}"));
        let known = fs::read_to_string(&file).ok().and_then(|id| id.parse().ok());
        if let Some(id) = known.filter(|id| honest.allocated().is_ok_and(|all| all.iter().any(|one| one.id == *id))) {
            return Ok(id);
        }
        let id = honest.allocate(&Label::default())?;
        fs::write(&file, id.to_string()).map_err(|error| Error::system("write", error))?;
        Ok(id)
    }
}
