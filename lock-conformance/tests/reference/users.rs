//! The processes that have temporary ids. Each holds the lock of a file in the store's directory `users` until it ends.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use lock_core::{Acquired, Deadline, OwnerKind, RawLock, Result};

use super::lock::FileLock;
use super::options::Access;

/// The numbers of processes in stores: pid, store, number. A forked child has another pid than the entries that it inherits.
static OWN: Mutex<Vec<(u32, u128, u32)>> = Mutex::new(Vec::new());

/// Returns the number of this process in a store, and holds its lock.
pub(super) fn join(store: &Path, identity: u128, access: Access) -> Result<u32> {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., number)) = own.iter().find(|known| (known.0, known.1) == (process::id(), identity)) {
        return Ok(*number);
    }
    // The number of a dead process is not used again.
    let mut unused = (0..).filter(|number| !path(store, *number).exists());
    let number = loop {
        let number = unused.next().expect("there are fewer processes than numbers");
        if file(store, identity, access, number)?.acquire_as(OwnerKind::Process, Deadline::Now)? != Acquired::TimedOut {
            break number;
        }
    };
    own.push((process::id(), identity, number));
    Ok(number)
}

/// Checks whether the process with this number lives.
pub(super) fn is_alive(store: &Path, identity: u128, access: Access, number: u32) -> Result<bool> {
    Ok(file(store, identity, access, number)?.holder()?.is_some())
}

fn file(store: &Path, identity: u128, access: Access, number: u32) -> Result<Arc<FileLock>> {
    FileLock::of(&path(store, number), identity, access)
}

fn path(store: &Path, number: u32) -> PathBuf {
    store.join("users").join(number.to_string())
}
