//! Rogues that open and make stores wrongly.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use lock_core::{ErrorKind, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};

use super::Sinner;
use super::mixed::{RecordLock, beside};
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<BothCreate>(),
        sinner::<ReplacesWhatExists>(),
        sinner::<BelievesAnything>(),
        sinner::<MakesWhatIsAbsent>(),
        sinner::<NeverLooksBack>(),
        sinner::<TellsStoresApartByPath>(),
    ]
}

/// Of two who look at the same time, both find nothing, and both create.
#[derive(Debug)]
struct BothCreate;

impl Sin for BothCreate {
    const NAME: &'static str = "both-create";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("opening::of_racing_creators_one_wins", "who created one store believe they did"),
        ("opening::all_racing_initialisers_get_one_store", "initialisers got different stores"),
    ];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if mode == OpenMode::Open {
            return reference::open(url, mode);
        }
        let own: StoreUrl = format!("{}-{}", url.as_str(), std::process::id()).parse()?;
        reference::open(&own, mode)
    }
}

/// Creates over what exists.
#[derive(Debug)]
struct ReplacesWhatExists;

impl Sin for ReplacesWhatExists {
    const NAME: &'static str = "replaces-what-exists";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::creating_what_exists_is_refused_and_changes_nothing", "it should have been Exists")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if mode == OpenMode::Create {
            let _ = fs::remove_dir_all(url.place());
        }
        reference::open(url, mode)
    }
}

/// Makes a new store of whatever it does not understand.
#[derive(Debug)]
struct BelievesAnything;

impl Sin for BelievesAnything {
    const NAME: &'static str = "believes-anything";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("damage::another_beginning_is_refused", "took a store for good although its first bytes are others"),
        ("damage::every_truncation_is_refused", "took a store for good although it was cut"),
        ("damage::a_hard_link_is_refused", "took a store for good although it has another name"),
        ("damage::a_file_that_others_may_write_is_refused", "took a store for good although its mode is"),
    ];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        match reference::open(url, mode) {
            Err(error) if matches!(error.kind(), ErrorKind::NotAStore { .. } | ErrorKind::NotOurs { .. }) => {
                let _ = fs::remove_dir_all(url.place());
                reference::open(url, OpenMode::OpenOrCreate)
            }
            other => other,
        }
    }
}

/// Makes a store where it was told to open one.
#[derive(Debug)]
struct MakesWhatIsAbsent;

impl Sin for MakesWhatIsAbsent {
    const NAME: &'static str = "makes-what-is-absent";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::an_absent_store_is_refused_and_not_made", "it should have been Absent")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::open(url, if mode == OpenMode::Open { OpenMode::OpenOrCreate } else { mode })
    }
}

/// Does not notice that its store is not the one of its name any more: others get another one, and nobody knows.
#[derive(Debug)]
struct NeverLooksBack;

impl Sin for NeverLooksBack {
    const NAME: &'static str = "never-looks-back";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("vanishing::who_has_a_deleted_store_open_is_told", "was not refused check"),
        ("vanishing::who_has_a_replaced_store_open_is_told", "was not refused check"),
    ];

    fn check(_: &dyn Manager) -> Result<()> {
        Ok(())
    }
}

/// Has record locks, which belong to the process, and between its threads claims that it finds by the path of the store.
#[derive(Debug)]
struct TellsStoresApartByPath;

impl Sin for TellsStoresApartByPath {
    const NAME: &'static str = "tells-stores-apart-by-path";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("opening::two_spellings_of_a_place_are_one_store", "although it is held by another path to the same store")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        type Locks = BTreeMap<(String, LockId), Arc<RecordLock>>;
        static LOCKS: Mutex<Locks> = Mutex::new(BTreeMap::new());
        honest.lock(id)?;
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (url.place().to_owned(), id);
        if !locks.contains_key(&key) {
            locks.insert(key.clone(), Arc::new(RecordLock::on(beside(url, id)?)));
        }
        Ok(Arc::clone(&locks[&key]) as Arc<dyn RawLock>)
    }
}
