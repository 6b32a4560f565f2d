//! An honest and simple backend: a directory of small files, with open-file-description locks on them.
//!
//! It is what the suite is tested with: it passes, and the rogues are made from it. Beside it are some that claim other things:
//! [`modest`], [`single`] and [`private`].
//!
//! `reference:/dir?capacity=N&mode=0600`, with `owner=any` and `group=GID`, has `header`,
//! `ids/N` for each allocated id, with the label in it, and `locks/N`, with the last token and the holder and
//! the report of a death in it.

mod file_thread;
mod lock;
mod manager;
pub(crate) mod modest;
mod options;
pub(crate) mod private;
mod record;
pub(crate) mod single;
mod sys;

use lock_core::{
    Backend, Capabilities, Capacity, Deadlines, DeathReports, Holders, Labels, OwnerDeath, Reconcile, Reentry, Removal, Tokens,
};

use lock_conformance::Suite;

pub(crate) use manager::open;

/// What it claims.
pub(crate) const CLAIMS: Capabilities = Capabilities::least()
    .owner_death(OwnerDeath::Reported)
    .death_reports(DeathReports::UntilConsistent)
    .deadlines(Deadlines::Monotonic)
    .reentry(Reentry::Refused)
    .holders(Holders::Named)
    .labels(Labels::Kept)
    .tokens(Tokens::Fencing)
    .reconcile(Reconcile::Supported)
    .capacity(Capacity::Chosen)
    .removal(Removal::Supported);

/// The honest one.
pub(crate) const BACKEND: Backend = Backend::new("reference", "lock-conformance", "locks on small files", open).with(CLAIMS);

/// All that is honest, each with its suite.
pub(crate) fn suites() -> [Suite; 5] {
    [
        Suite::new(BACKEND, |scratch| format!("reference:{}/store", scratch.display()))
            .files(|scratch, _url| vec![scratch.join("store/header")])
            .shared_between_users("mode=0666&owner=any")
            .shared_in_group(|group| format!("mode=0660&group={group}")),
        Suite::new(modest::BACKEND, |scratch| format!("modest:{}/store", scratch.display())),
        Suite::new(single::BACKEND, |scratch| format!("single:{}/store", scratch.display())),
        Suite::new(single::REPORTING, |scratch| format!("reports-once:{}/store", scratch.display())),
        Suite::of_lock("private", private::CLAIMS, private::lock),
    ]
}
