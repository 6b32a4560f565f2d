//! Wrong backends that open and create stores incorrectly.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lock_core::{
    Acquired, Deadline, ErrorKind, Holder, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, StoreId, StoreUrl,
};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, is_due, rarely};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<BothCreate>(),
        faulty::<ReplacesWhatExists>(),
        faulty::<ReplacesOtherFiles>(),
        faulty::<MakesWhatIsAbsent>(),
        faulty::<NeverChecksItsStore>(),
        faulty::<DistinguishesStoresByPath>(),
        rarely::<DistinguishesStoresByPath>(),
        faulty::<StartsTokensAgain>(),
    ]
}

#[derive(Debug)]
struct StartsTokensAgain;

impl Fault for StartsTokensAgain {
    const NAME: &'static str = "starts-tokens-again";
    const FAULT: &'static str = "Counts the tokens of each store from 1";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("tokens::a_store_made_later_has_greater_tokens", "in the store that replaced it, the token 1 came after 3")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn token_base(_: &dyn Manager) -> u64 {
        0
    }
}

#[derive(Debug)]
struct BothCreate;

impl Fault for BothCreate {
    const NAME: &'static str = "both-create";
    const FAULT: &'static str = "Creates two stores when two processes race to create one";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("opening::of_racing_creators_one_wins", "creators of one store succeeded"),
        ("opening::all_racing_initialisers_get_one_store", "initialisers opened different stores"),
    ];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if mode == OpenMode::Open {
            return reference::open(url, mode);
        }
        let own: StoreUrl = format!("{}-{}", url.as_str(), std::process::id()).parse()?;
        reference::open(&own, mode)
    }
}

#[derive(Debug)]
struct ReplacesWhatExists;

impl Fault for ReplacesWhatExists {
    const NAME: &'static str = "replaces-what-exists";
    const FAULT: &'static str = "Replaces an existing store in the mode Create";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::creating_what_exists_is_refused_and_changes_nothing", "it should have been Exists")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if mode == OpenMode::Create {
            let _ = fs::remove_dir_all(url.location());
        }
        reference::open(url, mode)
    }
}

#[derive(Debug)]
struct ReplacesOtherFiles;

impl Fault for ReplacesOtherFiles {
    const NAME: &'static str = "believes-anything";
    const FAULT: &'static str = "Replaces a file that is not a store with a new store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("damage::another_beginning_is_refused", "accepted a store although its first bytes were changed"),
        ("damage::every_truncation_is_refused", "accepted a store although it was truncated"),
        ("damage::a_hard_link_is_refused", "accepted a store although it has a second name"),
        ("damage::a_file_that_others_may_write_is_refused", "accepted a store although its mode is"),
    ];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        match reference::open(url, mode) {
            Err(error) if matches!(error.kind(), ErrorKind::NotAStore | ErrorKind::Untrusted) => {
                let _ = fs::remove_dir_all(url.location());
                reference::open(url, OpenMode::OpenOrCreate)
            }
            other => other,
        }
    }
}

#[derive(Debug)]
struct MakesWhatIsAbsent;

impl Fault for MakesWhatIsAbsent {
    const NAME: &'static str = "makes-what-is-absent";
    const FAULT: &'static str = "Creates an absent store in the mode Open";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::an_absent_store_is_refused_and_not_made", "it should have been Absent")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::open(url, if mode == OpenMode::Open { OpenMode::OpenOrCreate } else { mode })
    }
}

#[derive(Debug)]
struct NeverChecksItsStore;

impl Fault for NeverChecksItsStore {
    const NAME: &'static str = "never-looks-back";
    const FAULT: &'static str = "Does not detect that its store was removed or replaced";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("vanishing::who_has_a_deleted_store_open_is_told", "was not refused check"),
        ("vanishing::who_has_a_replaced_store_open_is_told", "was not refused check"),
    ];

    fn check(_: &dyn Manager) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct DistinguishesStoresByPath;

impl Fault for DistinguishesStoresByPath {
    const NAME: &'static str = "tells-stores-apart-by-path";
    const FAULT: &'static str = "Treats two paths to one store as two stores within a process";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::two_spellings_of_a_place_are_one_store", "although it is held through another path to the same store")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let lock = (honest.id(), id);
        Ok(Arc::new(ByPath {
            honest: honest.lock(id)?,
            lock,
            path: url.location().to_owned(),
            is_wrong: is_due(Operation::Handle),
        }))
    }
}

/// The path through which this process acquired each of its locks.
static PATHS: Mutex<BTreeMap<(StoreId, LockId), PathBuf>> = Mutex::new(BTreeMap::new());

/// A lock that is busy for other threads of the owner's process only through the path that the owner used.
#[derive(Debug)]
struct ByPath {
    honest: Arc<dyn RawLock>,
    lock: (StoreId, LockId),
    path: PathBuf,
    is_wrong: bool,
}

impl ByPath {
    fn paths() -> MutexGuard<'static, BTreeMap<(StoreId, LockId), PathBuf>> {
        PATHS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks whether this process holds the lock through another path.
    fn is_held_by_another_path(&self) -> Result<bool> {
        let is_ours = self.honest.holder()?.is_some_and(|owner| owner.pid == std::process::id());
        Ok(is_ours && Self::paths().get(&self.lock).is_some_and(|path| *path != self.path))
    }
}

impl RawLock for ByPath {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = self.honest.acquire(Deadline::Now)?;
        let acquired = match acquired {
            Acquired::TimedOut if self.is_wrong && self.is_held_by_another_path()? => {
                return Ok(Acquired::Held { token: u64::MAX });
            }
            Acquired::TimedOut => self.honest.acquire(deadline)?,
            acquired => acquired,
        };
        if acquired != Acquired::TimedOut {
            Self::paths().insert(self.lock, self.path.clone());
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
