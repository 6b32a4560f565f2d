//! The commands that change which ids are allocated, or the store itself.

use std::io::{self, Read};
use std::process::ExitCode;

use lock_any::LockId;
use serde::Serialize;

use crate::cli::{AllocateArgs, BreakArgs, FreeArgs, Place, ReconcileArgs};
use crate::exit::{ExitStatus, Failure};
use crate::output;

pub(crate) fn allocate(place: &Place, args: &AllocateArgs) -> Result<(), Failure> {
    let store = place.open_or_create(args.no_create)?;
    let lock = match args.id {
        Some(id) => store.allocate_and_retrieve(id, args.label.as_str())?,
        None => store.allocate(args.label.as_str())?,
    };
    let printed = match lock.id() {
        Some(id) => output::print(format!("{id}\n")),
        None => Ok(()),
    };
    if printed.is_err() {
        // Nobody knows the id, so nobody would free it.
        lock.free()?;
    }
    Ok(printed?)
}

/// Frees what can be freed, says what cannot, and exits as the first of these does.
pub(crate) fn free(place: &Place, args: &FreeArgs) -> Result<ExitCode, Failure> {
    let store = place.open()?;
    let mut code = ExitCode::SUCCESS;
    let mut failed = false;
    for &id in &args.ids {
        if let Err(error) = store.free(id) {
            let failure = Failure::from(error);
            failure.report();
            if !failed {
                code = failure.status.into();
            }
            failed = true;
        }
    }
    Ok(code)
}

pub(crate) fn free_all(place: &Place) -> Result<(), Failure> {
    let count = place.open()?.free_all()?;
    Ok(output::print(format!("{count}\n"))?)
}

#[derive(Serialize)]
struct Reconciled {
    claimed: Vec<u32>,
    freed: Vec<u32>,
}

pub(crate) fn reconcile(place: &Place, args: &ReconcileArgs) -> Result<(), Failure> {
    let ids = if args.ids.is_empty() { from_stdin()? } else { args.ids.clone() };
    let done = place.open_or_create(args.no_create)?.reconcile(ids)?;
    let numbers = |ids: Vec<LockId>| ids.into_iter().map(LockId::get).collect::<Vec<_>>();
    let done = Reconciled { claimed: numbers(done.claimed), freed: numbers(done.freed) };
    if args.json {
        return Ok(output::print_json(&done)?);
    }
    let lines = |verb: &str, ids: &[u32]| ids.iter().map(|id| format!("{verb} {id}\n")).collect::<String>();
    Ok(output::print(lines("claimed", &done.claimed) + &lines("freed", &done.freed))?)
}

/// The ids on stdin. None at all is refused: more likely than a database without locks is one that could not be read.
fn from_stdin() -> Result<Vec<LockId>, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().read_to_string(&mut text);
    read.map_err(|error| Failure::new(ExitStatus::USAGE, format!("the ids could not be read from stdin: {error}")))?;
    let parse = |word: &str| {
        word.parse().map_err(|error| Failure::new(ExitStatus::USAGE, format!("{word:?} on stdin is not an id: {error}")))
    };
    let ids = text.split_whitespace().map(parse).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        let advice = "there is no id on the command line or on stdin; if none is in use, say so with free-all --yes";
        return Err(Failure::new(ExitStatus::USAGE, advice));
    }
    Ok(ids)
}

pub(crate) fn break_lock(place: &Place, args: &BreakArgs) -> Result<(), Failure> {
    Ok(place.open()?.break_lock(args.id)?)
}

pub(crate) fn create(place: &Place) -> Result<(), Failure> {
    lock_any::create(&place.url())?;
    Ok(())
}

pub(crate) fn destroy(place: &Place) -> Result<(), Failure> {
    Ok(place.open()?.destroy()?)
}
