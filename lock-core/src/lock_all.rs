use crate::{Deadline, ErrorKind, Guard, Lock, Operation, Result};

/// Acquires several locks in one fixed order, by store and id, so that two callers that want some of the same locks cannot
/// deadlock. Either all are held when it returns, or none that was not before.
///
/// The guards come in the order of `locks`. The fixed order holds among callers of this function: who already holds a lock when
/// calling it, or takes further ones afterwards, has to take care of the order itself.
///
/// # Errors
/// [`ErrorKind::AlreadyHeld`] when a lock is given twice; otherwise as [`Lock::lock_by`].
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use lock_core::{Deadline, lock_all};
/// # let directory = tempfile::tempdir().unwrap();
/// # let url = format!("shm:{}/store", directory.path().display());
/// # let registry = lock_core::Registry::default().merge([lock_shm::BACKEND])?;
/// # let store = lock_core::Store::open(&registry, &url, lock_core::OpenMode::Create)?;
/// let (from, to) = (store.allocate("from")?, store.allocate("to")?);
/// let guards = lock_all([&to, &from], Deadline::after(Duration::from_secs(5)))?;
/// assert_eq!(guards[0].lock().id(), to.id());
/// # Ok::<(), lock_core::Error>(())
/// ```
pub fn lock_all<'a>(locks: impl IntoIterator<Item = &'a Lock>, deadline: Deadline) -> Result<Vec<Guard<'a>>> {
    let mut locks: Vec<_> = locks.into_iter().enumerate().collect();
    locks.sort_by_key(|(_, lock)| lock.order());
    if let Some(pair) = locks.windows(2).find(|pair| pair[0].1.order() == pair[1].1.order()) {
        return Err(pair[0].1.in_context(ErrorKind::AlreadyHeld.into(), Operation::Lock));
    }
    let mut guards = Vec::with_capacity(locks.len());
    for (place, lock) in locks {
        guards.push((place, lock.lock_by(deadline)?));
    }
    guards.sort_by_key(|(place, _)| *place);
    Ok(guards.into_iter().map(|(_, guard)| guard).collect())
}
