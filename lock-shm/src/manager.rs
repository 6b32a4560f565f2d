use std::path::{Path, PathBuf};
use std::sync::Arc;

use lock_core::table::{Hot, Kind, Owner, Slot, Table, TableLocks, TableManager, TableOptions};
use lock_core::{Manager, OpenMode, RawLock, Result, StoreUrl};

use crate::lock::ShmLock;
use crate::robust;

/// Where stores with a plain name are.
const DIRECTORY: &str = "/dev/shm";

pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let table_options = TableOptions::take(&mut options)?;
    options.finish()?;
    let kind = Kind::new("shm", robust::abi()?);
    let table = Table::open(&path(url)?, kind, mode, &table_options)?;
    Ok(Arc::new(TableManager::new(table, Locks)))
}

fn path(url: &StoreUrl) -> Result<PathBuf> {
    let place = url.place();
    if Path::new(place).is_absolute() {
        return Ok(place.into());
    }
    if place.is_empty() || place.contains('/') || place.starts_with('.') || place.len() > 255 {
        let reason = "write shm:NAME, without a slash and with no dot at its start, or shm:/absolute/path";
        return Err(url.error(reason));
    }
    Ok(Path::new(DIRECTORY).join(place))
}

#[derive(Debug)]
struct Locks;

impl TableLocks for Locks {
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(ShmLock::new(slot)))
    }

    fn is_held(&self, hot: &Hot, _owner: Owner, lives: bool) -> bool {
        lives && robust::is_held(hot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_shared_memory_and_a_path_is_where_it_says() {
        let path = |text: &str| path(&text.parse().unwrap());
        assert_eq!(path("shm:locks").unwrap(), Path::new("/dev/shm/locks"));
        assert_eq!(path("shm:/run/locks").unwrap(), Path::new("/run/locks"));
        for bad in ["shm:", "shm:a/b", "shm:../x", "shm:.hidden"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
