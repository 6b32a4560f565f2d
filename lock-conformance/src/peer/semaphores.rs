//! A thread of a peer reads and makes System V semaphore sets, as a program does that has nothing to do with the locks.

use std::fs;

use lock_core::{Error, Result};

use super::worker::Worker;
use crate::need::NEXT_SET;
use crate::protocol::{Fields, list};
use crate::sys;

/// The value of each semaphore of a new set.
const VALUE: u16 = 1;

impl Worker {
    pub(super) fn use_semaphores(&self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("semaphore_sets", []) => sets(),
            ("make_semaphore_set", [id, size]) => make(id, size),
            ("semaphore_set", [id, size]) => inspect(id, size),
            _ => return None,
        })
    }
}

/// The ids and the sizes of all sets in the thread's IPC namespace.
fn sets() -> Result<Fields> {
    let table = fs::read_to_string("/proc/sysvipc/sem").map_err(|error| Error::system("read /proc/sysvipc/sem", error))?;
    let column = |number: usize| {
        let rows = table.lines().skip(1);
        list(rows.filter_map(|row| row.split_whitespace().nth(number)?.parse().ok()))
    };
    Ok(Fields::new().with("ids", column(1)).with("sizes", column(3)))
}

/// Makes a set with this id.
fn make(id: &str, size: &str) -> Result<Fields> {
    fs::write(NEXT_SET, id).map_err(|error| Error::system("write sem_next_id", error))?;
    let size = size.parse().expect("a size");
    let made = sys::make_semaphore_set(size, VALUE).map_err(|error| Error::system("semget", error))?;
    Ok(Fields::new().with("id", made))
}

/// How many semaphores of a set have another value than at first, and when the last operation on the set was.
fn inspect(id: &str, size: &str) -> Result<Fields> {
    let (id, size) = (id.parse().expect("an id"), size.parse().expect("a size"));
    let (values, operated) = sys::semaphore_set(id, size).map_err(|error| Error::system("semctl", error))?;
    let changed = values.into_iter().filter(|value| *value != VALUE).count();
    Ok(Fields::new().with("changed", changed).with("operated", operated))
}
