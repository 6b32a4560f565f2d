//! The wrong backends. Each one adds a [`Fault`](fault::Fault) to an honest backend.

mod allocators;
mod barging;
mod causes;
mod cleaned;
mod copies;
mod creator_namespaces;
mod dead_holders;
mod deadlocks;
mod descriptors;
mod false_claims;
mod fault;
mod filesystems;
mod fork_mutexes;
mod forks;
mod growing;
mod guard_checks;
mod hidden_owners;
mod ids;
mod ipc;
mod leaking;
mod lockers;
mod lookups;
mod lost_reports;
mod mixed;
mod mixed_deaths;
mod names;
mod namespaces;
mod number;
mod numbers_reused;
mod open_to_others;
mod openers;
mod panics;
mod raising;
mod rarely;
mod reclaiming;
mod reopening;
mod reports;
mod ruled;
mod sending;
mod sessions;
mod shared;
mod slow;
mod sys;
pub(crate) mod table;
mod trying;
mod views;
mod waiter_lists;
mod waiters;
mod watched;
mod wrong_reports;

use lock_core::Backend;

/// A wrong backend and the cases that must catch it.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) backend: Backend,
    /// The fault, in one sentence.
    pub(crate) fault: &'static str,
    /// The names of the cases, each with words that its failure message must contain.
    pub(crate) caught_by: &'static [(&'static str, &'static str)],
    /// Whether the backend passes all other cases.
    pub(crate) caught_by_no_other: bool,
    /// Whether the fault occurs only in one of many operations.
    pub(crate) is_rare: bool,
}

/// Returns all wrong backends.
pub(crate) fn all() -> Vec<Faulty> {
    [
        lockers::all(),
        lookups::all(),
        mixed::all(),
        mixed_deaths::all(),
        allocators::all(),
        openers::all(),
        growing::all(),
        raising::all(),
        reclaiming::all(),
        guard_checks::all(),
        ids::all(),
        names::all(),
        sending::all(),
        sessions::all(),
        copies::all(),
        cleaned::all(),
        false_claims::all(),
        dead_holders::all(),
        deadlocks::all(),
        hidden_owners::all(),
        namespaces::all(),
        creator_namespaces::all(),
        ipc::all(),
        views::all(),
        waiter_lists::all(),
        waiters::all(),
        barging::all(),
        trying::all(),
        wrong_reports::all(),
        descriptors::all(),
        numbers_reused::all(),
        forks::all(),
        fork_mutexes::all(),
        reports::all(),
        lost_reports::all(),
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
