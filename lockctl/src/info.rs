//! `info`: the properties of a store.

use std::collections::BTreeMap;

use lock_any::{Backend, Capacity, Numbering, Store, StoreId, StoreUrl};
use serde::Serialize;

use crate::cli::{Format, StoreArgs};
use crate::exit::Failure;
use crate::output::{self, Rows};

#[derive(Serialize)]
struct Info {
    store: String,
    id: StoreId,
    backend: &'static str,
    #[serde(rename = "crate")]
    crate_name: &'static str,
    /// `null` without a bound.
    capacity: Option<u64>,
    allocated: Option<u64>,
    /// `null` without a bound.
    available: Option<u64>,
    capabilities: BTreeMap<&'static str, &'static str>,
    details: BTreeMap<&'static str, String>,
}

pub(crate) fn info(store_args: &StoreArgs, format: &Format) -> Result<(), Failure> {
    let url: StoreUrl = store_args.url()?.parse()?;
    let registry = lock_any::registry()?;
    let backend = registry.find(url.scheme())?;
    let store = store_args.open()?;
    let numbered = store.capabilities().numbering == Numbering::Numbered;
    let allocated = if numbered { Some(count(store.iter_allocated())?) } else { None };
    let available = if numbered { store.available()? } else { None };
    warn_if_nearly_full(&store, available);
    match format.json {
        true => print_json(&store, backend, allocated, available),
        false => print_table(&store, backend, allocated, available),
    }
}

/// Counts the items of a list, which need not fit into memory.
fn count<T>(mut items: impl Iterator<Item = lock_any::Result<T>>) -> lock_any::Result<u64> {
    items.try_fold(0, |count, item| item.map(|_| count + 1))
}

/// The share of allocated ids, in percent, from which `info` warns.
const NEARLY_FULL: u64 = 90;

/// Writes a line to stderr if few ids are free.
fn warn_if_nearly_full(store: &Store, available: Option<u64>) {
    if let Some((text, advice)) = exhaustion(store, available) {
        output::message(format_args!("{text}; {advice}"));
    }
}

/// Returns a sentence and an advice if few ids are free.
pub(crate) fn exhaustion(store: &Store, available: Option<u64>) -> Option<(String, &'static str)> {
    let (Some(capacity), Some(free)) = (store.capacity(), available) else { return None };
    let allocated = capacity.saturating_sub(free);
    if u128::from(allocated) * 100 < u128::from(capacity) * u128::from(NEARLY_FULL) {
        return None;
    }
    let advice = match (store.capabilities().capacity, store.url().starts_with("podman:")) {
        (_, true) => {
            "remove unused containers, pods and volumes, or raise num_locks in containers.conf and run `podman system renumber` while no other \
             podman runs"
        }
        (Capacity::Chosen, _) => {
            "free ids that are not used, which `list` shows, or create another store with a larger capacity=N"
        }
        _ => "free ids that are not used, which `list` shows",
    };
    Some((format!("{allocated} of {capacity} ids are allocated, and {free} are free"), advice))
}

fn print_json(store: &Store, backend: &Backend, allocated: Option<u64>, available: Option<u64>) -> Result<(), Failure> {
    let info = Info {
        store: store.url().to_owned(),
        id: store.id(),
        backend: backend.scheme(),
        crate_name: backend.crate_name(),
        capacity: store.capacity(),
        allocated,
        available,
        capabilities: store.capabilities().rows().into_iter().collect(),
        details: store.details().into_iter().collect(),
    };
    Ok(output::print_json(&info)?)
}

fn print_table(store: &Store, backend: &Backend, allocated: Option<u64>, available: Option<u64>) -> Result<(), Failure> {
    let bound = |number: Option<u64>| number.map_or_else(|| "unbounded".to_owned(), |number| number.to_string());
    let mut rows = Rows::new(&["PROPERTY", "VALUE"]);
    rows.push(["store", store.url()]);
    rows.push(["id", &store.id().to_string()]);
    rows.push(["backend", &format!("{} ({})", backend.scheme(), backend.crate_name())]);
    rows.push(["capacity", &bound(store.capacity())]);
    if let Some(allocated) = allocated {
        rows.push(["allocated", &allocated.to_string()]);
        rows.push(["available", &bound(available)]);
    }
    for (title, value) in store.details() {
        rows.push([title, &value]);
    }
    for (title, value) in store.capabilities().rows() {
        rows.push([title, value]);
    }
    Ok(rows.print()?)
}
