//! `why`: explains the holder of a lock, the waiting threads, and deadlocks. It acquires, delays and changes no lock.

mod graph;
mod here;
mod podman;
mod report;
mod sentences;
mod survey;

use std::path::Path;

use lock_any::{LockId, Store};

use self::report::Report;
use crate::cli::{StoreArgs, WhyArgs};
use crate::exit::Failure;
use crate::output;

pub(crate) use self::here::Here;
#[cfg(feature = "watch")]
pub(crate) use self::report::held_for;
#[cfg(feature = "watch")]
pub(crate) use self::survey::Facts;
pub(crate) use self::survey::Survey;

pub(crate) fn why(store_args: &StoreArgs, args: &WhyArgs) -> Result<(), Failure> {
    let store = store_args.open()?;
    let mut report = examine(&store, args.id)?;
    if store.url().starts_with("podman:") && !report.locks.is_empty() {
        name_objects(&mut report);
    }
    if args.format.json {
        return Ok(output::print_json(&report)?);
    }
    let lines = if args.id.is_some() { sentences::about_lock(&report) } else { sentences::about_store(&report) };
    Ok(output::print(lines.iter().map(|line| format!("{}\n", output::escaped(line))).collect::<String>())?)
}

fn examine(store: &Store, id: Option<LockId>) -> Result<Report, Failure> {
    // Checks the range of the id.
    let allocation = id.map(|id| store.allocation(id)).transpose()?.flatten();
    let here = Here::new();
    let survey = Survey::of(store, id, &here)?;
    let mut report = Report::new(store, survey, id, &here);
    for lock in &mut report.locks {
        let allocation = if id.is_some() { allocation.clone() } else { store.allocation(lock.entry.id)? };
        lock.allocated(allocation);
    }
    Ok(report)
}

/// Returns the sentences about one lock, without the names of podman's objects: podman would run for each explanation.
#[cfg(feature = "watch")]
pub(crate) fn sentences(store: &Store, id: LockId) -> Result<Vec<String>, Failure> {
    Ok(sentences::about_lock(&examine(store, Some(id))?))
}

/// Adds the objects of podman that have the locks.
fn name_objects(report: &mut Report) {
    let Some(file) = report.details.get("file") else { return };
    let objects = podman::objects(Path::new(file));
    for lock in &mut report.locks {
        let number = u64::from(lock.entry.id.get());
        lock.objects = objects.found.iter().filter(|object| object.lock == number).cloned().collect();
    }
    report.unseen.extend(objects.unknown);
}
