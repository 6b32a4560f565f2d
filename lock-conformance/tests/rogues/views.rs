//! Wrong backends that misjudge a store with two paths, one through an overlay and one in its upper layer.

use std::sync::Arc;

use lock_core::{Acquired, Deadline, Error, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::lockers::altered;
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<LocksTheOverlay>(), faulty::<CreatesOnTheOverlay>(), faulty::<ForgetsBehindTheOverlay>()]
}

fn is_of_overlay(url: &StoreUrl) -> bool {
    url.as_str().contains("/merged/")
}

/// Opens the store through its path in the upper layer.
fn open_below(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let below: StoreUrl = url.as_str().replace("/merged/", "/upper/").parse()?;
    reference::open(&below, mode)
}

/// Returns the lock for this path. The overlay and the upper layer have different locks.
fn lock_of_path(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
    honest.lock(if is_of_overlay(url) { LockId::new(id.get() + 64) } else { id })
}

fn refused(reason: &str) -> Result<Arc<dyn Manager>> {
    Err(Error::untrusted(reason))
}

#[derive(Debug)]
struct LocksTheOverlay;

impl Fault for LocksTheOverlay {
    const NAME: &'static str = "locks-the-overlay";
    const FAULT: &'static str = "Opens a store through an overlay, where the files have separate locks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("views::a_store_of_the_upper_layer_excludes_the_overlay_or_refuses_it", "although its owner lives")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        match mode {
            OpenMode::Create if is_of_overlay(url) => refused("the directory is on an overlay"),
            _ => open_below(url, mode),
        }
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        lock_of_path(honest, url, id)
    }
}

#[derive(Debug)]
struct CreatesOnTheOverlay;

impl Fault for CreatesOnTheOverlay {
    const NAME: &'static str = "creates-on-the-overlay";
    const FAULT: &'static str = "Refuses to open a store through an overlay, but creates one there";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("views::a_store_of_the_overlay_excludes_the_upper_layer_or_is_refused", "although its owner lives")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        match mode {
            OpenMode::Open if is_of_overlay(url) => refused("the directory is on an overlay"),
            _ => open_below(url, mode),
        }
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        lock_of_path(honest, url, id)
    }
}

#[derive(Debug)]
struct ForgetsBehindTheOverlay;

impl Fault for ForgetsBehindTheOverlay {
    const NAME: &'static str = "forgets-behind-the-overlay";
    const FAULT: &'static str =
        "Excludes users of the overlay, but does not report deaths in a store that is also visible through one";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("views::a_death_behind_an_overlay_is_recovered_or_the_overlay_is_refused", "was not reported")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_below(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let honest = honest.lock(id)?;
        Ok(if url.as_str().contains("/upper/") { Arc::new(Forgetful(honest)) } else { honest })
    }
}

#[derive(Debug)]
struct Forgetful(Arc<dyn RawLock>);

impl RawLock for Forgetful {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(altered(self.0.acquire(deadline)?, |token, _| (token, None)))
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.0.holder()
    }
}
