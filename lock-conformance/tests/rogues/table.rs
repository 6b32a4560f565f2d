//! The table of faults and of the cases that catch them, which the test prints at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A fault, the case that must catch it, and the case that did.
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) case: &'static str,
    pub(crate) caught_by: String,
}

/// The rows by position.
static ROWS: Mutex<BTreeMap<usize, Row>> = Mutex::new(BTreeMap::new());

pub(crate) fn add(place: usize, row: Row) {
    ROWS.lock().unwrap_or_else(PoisonError::into_inner).insert(place, row);
}

/// Prints a row for each trial that ran.
pub(crate) fn print() {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    if rows.is_empty() {
        return;
    }
    println!("fault | promise (group) | case | caught by");
    for row in rows.values() {
        let (group, promise) = row.case.split_once("::").unwrap_or((row.case, ""));
        println!(
            "{} | {} ({group}) | {} | {}",
            row.fault,
            promise.replace("::", ": ").replace('_', " "),
            row.case,
            row.caught_by
        );
    }
}
