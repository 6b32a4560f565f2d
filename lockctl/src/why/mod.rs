//! `why`: explains the holder of a lock, the waiting threads, and deadlocks. It acquires, delays and changes no lock.

mod here;
mod podman;
mod report;
mod sentences;
mod survey;

use std::path::Path;

use lock_any::{Deadlock, LockId, Store, WaitGraph};

use self::report::Report;
use crate::cli::{StoreArgs, WhyArgs};
use crate::exit::{ExitStatus, Failure};
use crate::output;
use crate::target::Key;

pub(crate) use self::here::Here;
pub(crate) use self::report::held_for;
pub(crate) use self::sentences::span;
#[cfg(feature = "watch")]
pub(crate) use self::survey::Facts;
pub(crate) use self::survey::Survey;

pub(crate) fn why(store_args: &StoreArgs, args: &WhyArgs) -> Result<(), Failure> {
    let stores = store_args.open_all()?;
    if let (Some(lock), true) = (&args.lock, stores.len() > 1) {
        let message = format!("the lock {} belongs to one store; give --store once", lock.to_string_lossy());
        return Err(Failure::new(ExitStatus::USAGE, message));
    }
    let id = args.lock.as_deref().map(|word| Key::parse(word)?.find(&stores[0])).transpose()?.map(|lock| lock.id());
    let allocation = id.map(|id| stores[0].allocation(id)).transpose()?;
    let graph = WaitGraph::read(&stores)?;
    let here = Here::new();
    let mut reports = stores.iter().map(|store| examine(store, id, &graph, &here)).collect::<Result<Vec<_>, _>>()?;
    if let (Some(allocation), [report]) = (allocation, reports.as_mut_slice()) {
        report.locks.iter_mut().for_each(|lock| lock.allocated(allocation.clone()));
    }
    for report in &mut reports {
        if report.store.starts_with("podman:") && !report.locks.is_empty() {
            name_objects(report);
        }
    }
    if args.format.json {
        match reports.as_slice() {
            [report] => output::print_json(report)?,
            reports => output::print_json(&reports)?,
        }
        return Ok(());
    }
    for report in &mut reports {
        // A cycle across stores is explained once.
        report.cycles.retain(|cycle| id.is_some() || cycle[0].store == report.store);
    }
    let sentences = if id.is_some() { sentences::about_lock } else { sentences::about_store };
    let lines = reports.iter().flat_map(sentences);
    Ok(output::print(lines.map(|line| format!("{}\n", output::escaped(&line))).collect::<String>())?)
}

/// Returns the sentences about a deadlock.
pub(crate) fn about_deadlock(cycle: &Deadlock) -> Vec<String> {
    sentences::about_cycle(&report::steps(cycle))
}

fn examine(store: &Store, id: Option<LockId>, graph: &WaitGraph, here: &Here) -> Result<Report, Failure> {
    let survey = Survey::of(store, id, graph)?;
    let mut report = Report::new(store, survey, id, graph, here);
    if id.is_none() {
        for lock in &mut report.locks {
            lock.allocated(store.allocation(lock.entry.id)?);
        }
    }
    Ok(report)
}

/// Returns the sentences about one lock, without the names of podman's objects: podman would run for each explanation.
#[cfg(feature = "watch")]
pub(crate) fn sentences(store: &Store, id: LockId) -> Result<Vec<String>, Failure> {
    let allocation = store.allocation(id)?;
    let graph = WaitGraph::read([store])?;
    let mut report = examine(store, Some(id), &graph, &Here::new())?;
    report.locks.iter_mut().for_each(|lock| lock.allocated(allocation.clone()));
    Ok(sentences::about_lock(&report))
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
