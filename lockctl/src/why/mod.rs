//! `why`: explains the holder of a lock, the waiting threads, and deadlocks. It acquires, delays and changes no lock.

mod graph;
mod here;
mod podman;
mod report;
mod sentences;
mod survey;

use std::path::Path;

use lock_any::{LockId, Store};

use self::here::Here;
use self::report::Report;
use self::survey::Survey;
use crate::cli::{StoreArgs, WhyArgs};
use crate::exit::Failure;
use crate::output;
use crate::target::Key;

pub(crate) fn why(store_args: &StoreArgs, args: &WhyArgs) -> Result<(), Failure> {
    let store = store_args.open()?;
    let id = args.lock.as_deref().map(|word| Key::parse(word)?.find(&store)).transpose()?.map(|lock| lock.id());
    let report = examine(&store, id)?;
    if args.format.json {
        return Ok(output::print_json(&report)?);
    }
    let lines = if id.is_some() { sentences::about_lock(&report) } else { sentences::about_store(&report) };
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
    if store.url().starts_with("podman:") && !report.locks.is_empty() {
        name_objects(&mut report);
    }
    Ok(report)
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
