//! Wrong backends that confuse a store with a copy of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use lock_core::{Error, LockId, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<IdentifiesCopies>(),
        faulty::<LocksTheOriginal>(),
        faulty::<FreesInTheOriginal>(),
        faulty::<DestroysTheOriginal>(),
        faulty::<TakesOwnersOfTheOriginalForDead>(),
        faulty::<TakesMovedForCopied>(),
    ]
}

/// Returns the path at which the store was created. A copy contains the same record.
fn origin(url: &StoreUrl) -> Option<PathBuf> {
    fs::read_to_string(format!("{}/origin", url.location().display())).ok().map(PathBuf::from)
}

/// Opens a store, and records the path of a new one.
fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let honest = reference::open(url, mode)?;
    if origin(url).is_none() {
        fs::write(url.location().join("origin"), url.location().as_os_str().as_encoded_bytes())
            .map_err(|error| Error::system("write", error))?;
    }
    Ok(honest)
}

/// Opens the original, if the store is a copy.
fn original(url: &StoreUrl) -> Option<Arc<dyn Manager>> {
    let place = origin(url).filter(|origin| origin != url.location())?;
    reference::open(&format!("reference:{}", place.display()).parse().ok()?, OpenMode::Open).ok()
}

#[derive(Debug)]
struct IdentifiesCopies;

impl Fault for IdentifiesCopies {
    const NAME: &'static str = "identifies-copies";
    const FAULT: &'static str = "Gives a copy the identity of the original";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("copies::a_copy_has_another_identity_or_is_refused", "have the same identity")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open(url, mode)
    }

    fn id(honest: &dyn Manager, url: &StoreUrl) -> StoreId {
        original(url).map_or_else(|| honest.id(), |original| original.id())
    }
}

#[derive(Debug)]
struct LocksTheOriginal;

impl Fault for LocksTheOriginal {
    const NAME: &'static str = "locks-the-original";
    const FAULT: &'static str = "Uses the original's locks for a copy";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("copies::the_locks_of_a_copy_are_others_or_it_is_refused", "watchdog")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        original(url).map_or_else(|| honest.lock(id), |original| original.lock(id))
    }
}

#[derive(Debug)]
struct FreesInTheOriginal;

impl Fault for FreesInTheOriginal {
    const NAME: &'static str = "frees-in-the-original";
    const FAULT: &'static str = "Frees the original's ids through a copy";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("copies::using_a_copy_leaves_the_original_as_it_is", "the copy changed the allocations of the original")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open(url, mode)
    }

    fn free_all(honest: &dyn Manager, url: &StoreUrl) -> Result<u64> {
        original(url).map_or_else(|| honest.free_all(), |original| original.free_all())
    }
}

#[derive(Debug)]
struct DestroysTheOriginal;

impl Fault for DestroysTheOriginal {
    const NAME: &'static str = "destroys-the-original";
    const FAULT: &'static str = "Destroys the original together with a copy";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("copies::destroying_a_copy_leaves_the_original_as_it_is", "the original's lock is held")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open(url, mode)
    }

    fn destroy(honest: &dyn Manager, url: &StoreUrl) -> Result<()> {
        if let Some(original) = original(url) {
            original.destroy()?;
        }
        honest.destroy()
    }
}

#[derive(Debug)]
struct TakesOwnersOfTheOriginalForDead;

impl Fault for TakesOwnersOfTheOriginalForDead {
    const NAME: &'static str = "takes-owners-of-the-original-for-dead";
    const FAULT: &'static str = "Releases the original's locks when a copy that records them as held is opened";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("copies::a_copy_of_a_store_in_use_leaves_its_owner_alone", "the original's lock is held")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let honest = open(url, mode)?;
        if let Some(original) = original(url)
            && let Some(origin) = origin(url)
        {
            for held in original.held()? {
                let _ = fs::remove_file(origin.join(format!("locks/{}", held.id)));
            }
        }
        Ok(honest)
    }
}

#[derive(Debug)]
struct TakesMovedForCopied;

impl Fault for TakesMovedForCopied {
    const NAME: &'static str = "takes-moved-for-copied";
    const FAULT: &'static str = "Changes the identity of a store that is moved";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("copies::a_store_that_was_moved_is_the_same", "has another identity")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open(url, mode)
    }

    fn id(honest: &dyn Manager, url: &StoreUrl) -> StoreId {
        let place = url.location().as_os_str().as_encoded_bytes();
        let place = place.iter().fold(7, |hash: u128, byte| hash.wrapping_mul(31) + u128::from(*byte));
        StoreId::new(honest.id().get() ^ place)
    }
}
