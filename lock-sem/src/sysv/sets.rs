use lock_core::{LockId, Result, StoreId};

use super::identity::{Identity, KEY_MASK, KEY_PREFIX, LEN};
use super::procfs;
use super::set::Set;
use super::span::Span;

/// A semaphore set of a store, found by [`sets`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SemaphoreSet {
    /// The id of the set, as in `ipcs -s` and `ipcrm -s`.
    pub semid: i32,
    /// The key of the set.
    pub key: u32,
    /// The store that the set belongs to.
    ///
    /// The set is an orphan if the store's file was deleted without [`Store::destroy`](lock_core::Store::destroy).
    pub store: StoreId,
    /// The first id of the 1,024 whose locks use the set. After a store has grown, two sets can have the same.
    pub first: LockId,
}

impl SemaphoreSet {
    /// Removes the set. Succeeds also if the set does not exist anymore.
    ///
    /// **Dangerous** for a set that is not an orphan: the locks of its store then fail with
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt).
    ///
    /// # Errors
    /// [`ErrorKind::System`](lock_core::ErrorKind::System) if this user may not remove the set.
    pub fn remove(&self) -> Result<()> {
        Set::of_id(self.semid).remove()
    }
}

/// Lists the semaphore sets of all stores that this user may read in this IPC namespace.
///
/// [`Store::destroy`](lock_core::Store::destroy) removes the sets of a store. A store whose file was deleted in another way
/// leaves its sets behind. Without this crate, `ipcs -s | grep 0x4c` lists candidates.
///
/// # Errors
/// [`ErrorKind::System`](lock_core::ErrorKind::System) if `/proc/sysvipc/sem` cannot be read.
pub fn sets() -> Result<Vec<SemaphoreSet>> {
    let listed = procfs::sets()?.into_iter().filter(|set| set.key as u32 & KEY_MASK == KEY_PREFIX);
    let mut sets = Vec::new();
    for candidate in listed {
        let Some(locks) = u16::try_from(candidate.semaphores).ok().and_then(|all| all.checked_sub(LEN)) else { continue };
        if let Some(Identity { store, run, .. }) = Set::of_id(candidate.id).identity(locks)? {
            sets.push(SemaphoreSet { semid: candidate.id, key: candidate.key as u32, store, first: Span::start_of(run) });
        }
    }
    Ok(sets)
}
