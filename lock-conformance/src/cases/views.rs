//! One store under two paths of an overlay mount.
//!
//! The overlay and its upper layer share the memory of a file, but not its locks.

use super::cases;
use super::keeping::{attempt, is_excluded_or_refused, is_recovered, keeps_its_lock};
use crate::fixture::Fixture;
use crate::need;
use crate::overlay::Layers;
use crate::process::{LockRef, Thread};

cases! { "views";
    a_store_of_the_upper_layer_excludes_the_overlay_or_refuses_it [STORE PROCESSES FILES OVERLAYS];
    a_store_of_the_overlay_excludes_the_upper_layer_or_is_refused [STORE PROCESSES FILES OVERLAYS];
    a_death_behind_an_overlay_is_recovered_or_the_overlay_is_refused [STORE PROCESSES FILES OVERLAYS RELEASED];
}

/// A process that uses an overlay, a process that uses its upper layer, and the URLs of one store.
struct Views {
    merged: Thread,
    upper: Thread,
    merged_url: String,
    upper_url: String,
    /// The layers of the overlay.
    layers: Layers,
}

impl Views {
    fn new(fixture: &Fixture) -> Self {
        let layers = Layers::new(&fixture.fresh_dir()).expect("the directories can be created");
        let (merged_url, upper_url) = (fixture.url_in(&layers.merged), fixture.url_in(&layers.upper));
        // The files are in the upper layer, whichever path created the store.
        fixture.will_make(&upper_url);
        Self { merged: fixture.blank_peer(), upper: fixture.blank_peer(), merged_url, upper_url, layers }
    }

    /// Mounts the overlay for one of the processes.
    ///
    /// Files that the other one creates in the upper layer later may be invisible in the overlay.
    fn mount(&self) {
        let target = self.layers.merged.to_str().expect("the scratch path is text");
        self.merged.must("own_mounts", &[]);
        self.merged.must("mount", &["overlay", target, &self.layers.options()]);
    }

    fn opens_merged(&self, mode: &str) -> bool {
        opens(&self.merged, mode, &self.merged_url)
    }

    fn opens_upper(&self, mode: &str) -> bool {
        opens(&self.upper, mode, &self.upper_url)
    }
}

/// Kinds of errors that say that a store cannot be used through such a path.
const REFUSALS: &[&str] = &["Untrusted", "Unsupported"];

/// Opens the store, or asserts that the refusal is typed.
fn opens(thread: &Thread, mode: &str, url: &str) -> bool {
    match thread.ask("open", &[mode, url]) {
        Ok(_) => true,
        Err(refusal) => {
            assert!(REFUSALS.contains(&refusal.kind.as_str()), "the error has the wrong kind: {refusal}");
            false
        }
    }
}

fn a_store_of_the_upper_layer_excludes_the_overlay_or_refuses_it(fixture: &Fixture) {
    let views = Views::new(fixture);
    assert!(views.opens_upper("create"), "the upper layer is a plain directory, but was refused");
    let lock = fixture.a_lock(&views.upper);
    views.upper.lock(lock);
    views.mount();
    if views.opens_merged("open") {
        exclude_each_other_or_are_refused(fixture, &views.upper, &views.merged, lock);
    }
}

fn a_store_of_the_overlay_excludes_the_upper_layer_or_is_refused(fixture: &Fixture) {
    let views = Views::new(fixture);
    views.mount();
    if !views.opens_merged("create") {
        return;
    }
    let lock = fixture.a_lock(&views.merged);
    if attempt(&views.merged, lock, REFUSALS).flatten().is_some() && views.opens_upper("open") {
        exclude_each_other_or_are_refused(fixture, &views.merged, &views.upper, lock);
    }
    if need::REMOVAL.is_met(&fixture.suite) {
        // Kernel objects of the store are found by the path that created it.
        let _ = views.merged.ask("destroy", &[]);
    }
}

/// Asserts that the second thread is excluded or refused while the first one holds the lock.
fn exclude_each_other_or_are_refused(fixture: &Fixture, owner: &Thread, other: &Thread, lock: LockRef) {
    is_excluded_or_refused(other, lock, REFUSALS);
    owner.unlock(lock);
    if attempt(other, lock, REFUSALS).flatten().is_some() {
        keeps_its_lock(fixture, other, owner, lock);
    }
}

fn a_death_behind_an_overlay_is_recovered_or_the_overlay_is_refused(fixture: &Fixture) {
    let views = Views::new(fixture);
    assert!(views.opens_upper("create"), "the upper layer is a plain directory, but was refused");
    let lock = fixture.a_lock(&views.upper);
    views.upper.finds_free(lock, "no process holds it");
    views.mount();
    if views.opens_merged("open") && attempt(&views.merged, lock, REFUSALS).flatten().is_some() {
        is_recovered(fixture, &views.merged, &views.upper, lock);
    }
}
