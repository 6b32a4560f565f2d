//! Commands that read and create System V semaphore sets that are unrelated to the locks.

use std::{fs, io};

use lock_core::{Error, Result};

use super::worker::Worker;
use crate::protocol::{Fields, list};
use crate::sys;
use crate::sys::NEXT_SET;

/// The value of each semaphore of a new set.
const VALUE: u16 = 1;

impl Worker {
    pub(super) fn use_semaphores(&self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("semaphore_sets", []) => sets(),
            ("make_semaphore_set", [id, size]) => make(id, size),
            ("semaphore_set", [id]) => inspect(id),
            _ => return None,
        })
    }
}

/// A row of the kernel's table of sets.
struct Row {
    id: i32,
    size: u32,
    /// The time of the last operation on the set, in seconds; 0 without one.
    operated: u64,
}

/// Returns all sets in the thread's IPC namespace.
fn table() -> Result<Vec<Row>> {
    let table = fs::read_to_string("/proc/sysvipc/sem").map_err(|error| Error::system("read /proc/sysvipc/sem", error))?;
    let row = |line: &str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (id, size) = (columns.get(1)?.parse().ok()?, columns.get(3)?.parse().ok()?);
        Some(Row { id, size, operated: columns.get(8)?.parse().ok()? })
    };
    Ok(table.lines().skip(1).filter_map(row).collect())
}

fn sets() -> Result<Fields> {
    let rows = table()?;
    let ids = list(rows.iter().map(|row| row.id.cast_unsigned()));
    Ok(Fields::new().with("ids", ids).with("sizes", list(rows.iter().map(|row| row.size))))
}

/// Creates a set with this id.
fn make(id: &str, size: &str) -> Result<Fields> {
    fs::write(NEXT_SET, id).map_err(|error| Error::system("write sem_next_id", error))?;
    let size = size.parse().expect("a size");
    let made = sys::make_semaphore_set(size, VALUE).map_err(|error| Error::system("semget", error))?;
    Ok(Fields::new().with("id", made))
}

/// Answers how many semaphores of a set have changed, and the time of the last operation on the set.
fn inspect(id: &str) -> Result<Fields> {
    let id = id.parse().expect("an id");
    let row = table()?.into_iter().find(|row| row.id == id).unwrap_or_else(|| panic!("the set {id} was removed"));
    let values = (0..row.size.cast_signed()).map(|semaphore| sys::semaphore_value(id, semaphore));
    let values: io::Result<Vec<_>> = values.collect();
    let values = values.map_err(|error| Error::system("semctl", error))?;
    let changed = values.into_iter().filter(|value| *value != i32::from(VALUE)).count();
    Ok(Fields::new().with("changed", changed).with("operated", row.operated))
}
