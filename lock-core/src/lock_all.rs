use crate::{Deadline, Error, Guard, Lock, Operation, Result};

/// Acquires several locks in a fixed order, so that callers of this function cannot deadlock.
///
/// The order is by store and id. The guards are returned in the order of `locks`. When one acquisition fails, the locks that the call
/// has acquired are released.
///
/// The order includes only the locks of one call. A thread that holds another lock before the call, or acquires one after it, must
/// order those acquisitions itself.
///
/// # Errors
/// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when `locks` contains a lock twice; otherwise as [`Lock::lock_by`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lock_core::{Deadline, lock_all};
/// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
/// # let store = memory::store()?;
/// let (from, to) = (store.allocate("from")?, store.allocate("to")?);
/// let guards = lock_all([&to, &from], Deadline::after(Duration::from_secs(5)))?;
/// assert_eq!(guards[0].lock().id(), to.id());
/// # Ok::<(), lock_core::Error>(())
/// ```
pub fn lock_all<'a>(locks: impl IntoIterator<Item = &'a Lock>, deadline: Deadline) -> Result<Vec<Guard<'a>>> {
    acquire_all(locks, |lock| lock.lock_by(deadline))
}

/// Acquires several locks as [`lock_all`] does.
///
/// Each guard contains a clone of its handle and has no lifetime.
///
/// # Errors
/// As [`lock_all`].
pub fn lock_all_owned<'a>(locks: impl IntoIterator<Item = &'a Lock>, deadline: Deadline) -> Result<Vec<Guard<'static>>> {
    acquire_all(locks, |lock| lock.lock_owned_by(deadline))
}

fn acquire_all<'a, 'g>(
    locks: impl IntoIterator<Item = &'a Lock>,
    acquire: impl Fn(&'a Lock) -> Result<Guard<'g>>,
) -> Result<Vec<Guard<'g>>> {
    let mut locks: Vec<_> = locks.into_iter().enumerate().collect();
    locks.sort_by_key(|(_, lock)| lock.order());
    if let Some(pair) = locks.windows(2).find(|pair| pair[0].1.order() == pair[1].1.order()) {
        return Err(pair[0].1.in_context(Error::already_held(), Operation::Lock));
    }
    let mut guards = Vec::with_capacity(locks.len());
    for (position, lock) in locks {
        guards.push((position, acquire(lock)?));
    }
    guards.sort_by_key(|(position, _)| *position);
    Ok(guards.into_iter().map(|(_, guard)| guard).collect())
}
