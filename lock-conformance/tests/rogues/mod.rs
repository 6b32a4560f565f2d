//! The rogues: each a [`Sin`] on top of the honest backend.

mod allocators;
mod causes;
mod liars;
mod lockers;
mod openers;
mod panics;
mod reopening;
mod reports;
mod ruled;
mod sin;

use lock_core::Backend;

/// A rogue, and the cases that have to catch it, with words that the failure has to have in it.
#[derive(Clone)]
pub(crate) struct Sinner {
    pub(crate) backend: Backend,
    pub(crate) caught_by: &'static [(&'static str, &'static str)],
}

/// All of them.
pub(crate) fn all() -> Vec<Sinner> {
    let reports = [reports::all(), panics::all(), causes::all(), reopening::all()].concat();
    [lockers::all(), allocators::all(), openers::all(), liars::all(), reports].concat()
}
