//! The commands that allocate and free ids, and create stores.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::process::ExitCode;

use lock_any::{LockId, Store, StoreUrl};
use serde_json::json;

use crate::cli::{AllocateArgs, BreakArgs, Format, FreeArgs, GrowArgs, ReconcileArgs, StoreArgs};
use crate::exit::{ExitStatus, Failure};
use crate::output;
use crate::target::Key;

/// Raises the capacity of a store.
pub(crate) fn grow(store_args: &StoreArgs, args: &GrowArgs) -> Result<(), Failure> {
    Ok(store_args.open()?.grow(args.capacity.0)?)
}

pub(crate) fn allocate(store_args: &StoreArgs, args: &AllocateArgs) -> Result<(), Failure> {
    let store = store_args.open_or_create(args.no_create)?;
    let lock = match args.id {
        Some(id) => store.allocate_and_retrieve(id, args.label.as_str())?,
        None => store.allocate(args.label.as_str())?,
    };
    let printed = output::print(format!("{}\n", lock.id()));
    if printed.is_err() {
        // The caller does not know the id, and so cannot free it.
        lock.free()?;
    }
    Ok(printed?)
}

/// Frees all ids that it can. Reports each failure, and exits with the code of the first one.
pub(crate) fn free(store_args: &StoreArgs, args: &FreeArgs) -> Result<ExitCode, Failure> {
    let store = store_args.open()?;
    let mut code = ExitCode::SUCCESS;
    let mut failed = false;
    for word in &args.locks {
        if let Err(failure) = free_one(&store, word) {
            failure.report();
            if !failed {
                code = failure.status.into();
            }
            failed = true;
        }
    }
    Ok(code)
}

fn free_one(store: &Store, word: &OsStr) -> Result<(), Failure> {
    match Key::parse(word)? {
        Key::Id(id) => Ok(store.free(id)?),
        // The id of the name may be freed and allocated again meanwhile. The handle frees only the id that had the name.
        name => Ok(name.find(store)?.free()?),
    }
}

pub(crate) fn free_all(store_args: &StoreArgs) -> Result<(), Failure> {
    let count = store_args.open()?.free_all()?;
    Ok(output::print(format!("{count}\n"))?)
}

pub(crate) fn reclaim(store_args: &StoreArgs, format: &Format) -> Result<(), Failure> {
    let freed = store_args.open()?.reclaim()?;
    if format.json {
        return Ok(output::print_json(&json!({ "freed": freed }))?);
    }
    Ok(output::print(freed.iter().map(|id| format!("freed {id}\n")).collect::<String>())?)
}

pub(crate) fn reconcile(store_args: &StoreArgs, args: &ReconcileArgs) -> Result<(), Failure> {
    let ids = if args.ids.is_empty() { from_stdin()? } else { args.ids.clone() };
    let done = store_args.open_or_create(args.no_create)?.reconcile(ids)?;
    if args.json {
        return Ok(output::print_json(&done)?);
    }
    let lines = |verb: &str, ids: &[LockId]| ids.iter().map(|id| format!("{verb} {id}\n")).collect::<String>();
    Ok(output::print(lines("allocated", &done.allocated) + &lines("freed", &done.freed))?)
}

/// Reads the ids from stdin. An empty list is refused, because it is more likely a failed query than a database without locks.
fn from_stdin() -> Result<Vec<LockId>, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Failure::new(ExitStatus::USAGE, format!("the ids could not be read from stdin: {error}")))?;
    let parse = |word: &str| {
        word.parse().map_err(|error| Failure::new(ExitStatus::USAGE, format!("{word:?} on stdin is not an id: {error}")))
    };
    let ids = text.split_whitespace().map(parse).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        let advice = "there is no id on the command line or on stdin; to free every id, use free-all --yes";
        return Err(Failure::new(ExitStatus::USAGE, advice));
    }
    Ok(ids)
}

pub(crate) fn break_lock(store_args: &StoreArgs, args: &BreakArgs) -> Result<(), Failure> {
    Ok(store_args.open()?.break_lock(args.id)?)
}

pub(crate) fn create(store_args: &StoreArgs) -> Result<(), Failure> {
    lock_any::create(store_args.url_to_create()?)?;
    Ok(())
}

pub(crate) fn migrate(store_args: &StoreArgs) -> Result<(), Failure> {
    let url: StoreUrl = store_args.url()?.parse()?;
    lock_any::registry()?.find(url.scheme())?.migrate(&url)?;
    Ok(())
}
