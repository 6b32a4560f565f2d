//! The reference backend: a directory of small files, with open-file-description locks on them.
//!
//! It passes the suite, and the wrong backends are derived from it. [`sending`], [`naming`], [`queuing`], [`modest`], [`single`] and [`private`] are honest backends with other
//! capabilities.
//!
//! The URL is `reference:/dir?capacity=N&mode=0600`; `owner=any` and `group=GID` are further options. The directory contains:
//!
//! - `header`;
//! - `raised` with the capacity, if it was raised;
//! - `ids/N` for each allocated id, with its label;
//! - `users/N` for each process that has temporary ids;
//! - `locks/N` for each used lock, with the last token, the owner and the report of a death.

mod file_thread;
mod lock;
mod manager;
pub(crate) mod modest;
pub(crate) mod naming;
mod options;
pub(crate) mod private;
pub(crate) mod queuing;
mod record;
pub(crate) mod sending;
pub(crate) mod single;
mod sys;
mod users;

use lock_core::{
    Backend, Capabilities, Capacity, Deadlines, DeathReports, Growth, Holders, Labels, Names, OwnerDeath, Reconcile, Reentry,
    Removal, Temporary, Tokens,
};

use lock_conformance::Suite;

pub(crate) use manager::open;

/// The capabilities of the reference backend.
pub(crate) const CLAIMS: Capabilities = Capabilities::minimal()
    .with_owner_death(OwnerDeath::Reported)
    .with_death_reports(DeathReports::UntilConsistent)
    .with_deadlines(Deadlines::Monotonic)
    .with_reentry(Reentry::Refused)
    .with_holders(Holders::Named)
    .with_labels(Labels::Kept)
    .with_names(Names::Supported)
    .with_tokens(Tokens::Fencing)
    .with_reconcile(Reconcile::Supported)
    .with_capacity(Capacity::Chosen)
    .with_growth(Growth::Supported)
    .with_temporary(Temporary::Reclaimed)
    .with_removal(Removal::Supported);

/// The reference backend.
pub(crate) const BACKEND: Backend = Backend::new("reference", "lock-conformance", "locks on small files", open).with(CLAIMS);

/// Returns a suite for each honest backend.
pub(crate) fn suites() -> [Suite; 8] {
    [
        Suite::new(BACKEND, |scratch| format!("reference:{}/store", scratch.display()))
            .files(|scratch, _url| vec![scratch.join("store/header")])
            .shared_between_users("mode=0666&owner=any")
            .shared_in_group(|group| format!("mode=0660&group={group}")),
        Suite::new(sending::BACKEND, |scratch| format!("sending:{}/store", scratch.display())),
        Suite::new(naming::BACKEND, |scratch| format!("naming:{}/store", scratch.display())),
        Suite::new(queuing::BACKEND, |scratch| format!("queuing:{}/store", scratch.display())),
        Suite::new(modest::BACKEND, |scratch| format!("modest:{}/store", scratch.display())),
        Suite::new(single::BACKEND, |scratch| format!("single:{}/store", scratch.display())),
        Suite::new(single::REPORTING, |scratch| format!("reports-once:{}/store", scratch.display())),
        Suite::of_lock("private", private::CLAIMS, private::lock),
    ]
}
