//! The sets that there are, as the kernel lists them.

use std::fs;

use lock_core::{Error, Result};

/// A line of `/proc/sysvipc/sem`, which is also what `ipcs -s` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) key: i32,
    pub(crate) id: i32,
    pub(crate) semaphores: u64,
}

impl Listed {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (key, id) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { key, id, semaphores: fields.nth(1)?.parse().ok()? })
    }
}

/// All sets of this IPC namespace.
pub(crate) fn sets() -> Result<Vec<Listed>> {
    let text = fs::read_to_string("/proc/sysvipc/sem").map_err(|e| Error::system("read /proc/sysvipc/sem", e))?;
    // The first line has the titles.
    Ok(text.lines().skip(1).filter_map(Listed::parse).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_key_id_mode_and_number() {
        let line = " 1275068417          3   600         20     0     0     0     0          0 1754000000";
        assert_eq!(Listed::parse(line), Some(Listed { key: 0x4c00_0001, id: 3, semaphores: 20 }));
        assert_eq!(Listed::parse("       key      semid perms      nsems"), None);
    }
}
