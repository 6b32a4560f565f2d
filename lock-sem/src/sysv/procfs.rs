//! The kernel's list of semaphore sets, `/proc/sysvipc/sem`.

use std::fs;

use lock_core::{Error, Result};

/// A line of `/proc/sysvipc/sem`. The command `ipcs -s` prints the same lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListedSet {
    pub(crate) key: i32,
    pub(crate) id: i32,
    pub(crate) semaphores: u64,
}

impl ListedSet {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (key, id) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { key, id, semaphores: fields.nth(1)?.parse().ok()? })
    }
}

/// Lists all sets of this IPC namespace.
///
/// # Errors
/// [`ErrorKind::System`](lock_core::ErrorKind::System) if the file cannot be read.
pub(crate) fn sets() -> Result<Vec<ListedSet>> {
    let text = fs::read_to_string("/proc/sysvipc/sem").map_err(|e| Error::system("read /proc/sysvipc/sem", e))?;
    // The first line contains the titles of the columns.
    Ok(text.lines().skip(1).filter_map(ListedSet::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_contains_the_key_id_and_number_of_semaphores() {
        let line = " 1275068417          3   600         20     0     0     0     0          0 1754000000";
        assert_eq!(ListedSet::parse(line), Some(ListedSet { key: 0x4c00_0001, id: 3, semaphores: 20 }));
        assert_eq!(ListedSet::parse("       key      semid perms      nsems"), None);
    }
}
