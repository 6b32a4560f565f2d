//! The rogues: each a [`Fault`] on top of the honest backend.

mod allocators;
mod blind;
mod causes;
mod cleaned;
mod copies;
mod dead_holders;
mod descriptors;
mod fault;
mod filesystems;
mod forgetful;
mod fork_mutexes;
mod forks;
mod growing;
mod homes;
mod ids;
mod ipc;
mod leaking;
mod liars;
mod lockers;
mod mixed;
mod mixed_deaths;
mod namespaces;
mod number;
mod numbers_reused;
mod open_to_others;
mod openers;
mod panics;
mod rarely;
mod reopening;
mod reports;
mod ruled;
mod shared;
mod slow;
mod sys;
pub(crate) mod table;
mod trying;
mod views;
mod watched;
mod wrong_reports;

use lock_core::Backend;

/// A rogue, and the cases that have to catch it, with words that the failure has to have in it.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) backend: Backend,
    /// What it does wrong, in one sentence.
    pub(crate) fault: &'static str,
    pub(crate) caught_by: &'static [(&'static str, &'static str)],
    /// Whether it passes all other cases.
    pub(crate) caught_by_no_other: bool,
    /// Whether it is wrong once in many operations.
    pub(crate) is_rare: bool,
}

/// All of them.
pub(crate) fn all() -> Vec<Faulty> {
    [
        lockers::all(),
        mixed::all(),
        mixed_deaths::all(),
        allocators::all(),
        openers::all(),
        growing::all(),
        ids::all(),
        copies::all(),
        cleaned::all(),
        liars::all(),
        dead_holders::all(),
        blind::all(),
        namespaces::all(),
        homes::all(),
        ipc::all(),
        views::all(),
        trying::all(),
        wrong_reports::all(),
        descriptors::all(),
        numbers_reused::all(),
        forks::all(),
        fork_mutexes::all(),
        reports::all(),
        forgetful::all(),
        leaking::all(),
        panics::all(),
        causes::all(),
        slow::all(),
        reopening::all(),
        shared::all(),
        open_to_others::all(),
        filesystems::all(),
    ]
    .concat()
}
