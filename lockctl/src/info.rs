//! `info`: the properties of a store.

use std::collections::BTreeMap;

use lock_any::{Backend, Numbering, Store, StoreId, StoreUrl};
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
    let url: StoreUrl = store_args.url().parse()?;
    let registry = lock_any::registry()?;
    let backend = registry.find(url.scheme())?;
    let store = store_args.open()?;
    let numbered = store.capabilities().numbering == Numbering::Numbered;
    let allocated = if numbered { Some(store.allocated()?.len() as u64) } else { None };
    let available = if numbered { store.available()? } else { None };
    match format.json {
        true => print_json(&store, backend, allocated, available),
        false => print_table(&store, backend, allocated, available),
    }
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
