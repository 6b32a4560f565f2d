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
/// ```ignore
/// let guards = lock_all([&a, &b], Deadline::after(Duration::from_secs(5)))?;
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
