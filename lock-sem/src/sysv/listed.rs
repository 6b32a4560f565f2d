use lock_core::{LockId, Result, StoreId};

use super::identity::{Identity, KEY, KEY_MASK, LEN};
use super::kernel;
use super::run::Run;
use super::set::Set;

/// A semaphore set of a store, as [`sets`] finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SemaphoreSet {
    /// The kernel's number for it, as `ipcs -s` shows it and `ipcrm -s` takes it.
    pub semid: i32,
    /// Its key.
    pub key: u32,
    /// The store that it belongs to. When the store's file was removed by hand, and not by
    /// [`Store::destroy`](lock_core::Store::destroy), there is no such store any more, and the set is an orphan.
    pub store: StoreId,
    /// The first of the ids whose locks it has.
    pub first: LockId,
}

impl SemaphoreSet {
    /// Removes it. **Dangerous** for a set that is no orphan: the locks of its store are lost, which their users are told.
    ///
    /// # Errors
    /// What the system says. That it is gone already is none.
    pub fn remove(&self) -> Result<()> {
        Set::of_id(self.semid).remove()
    }
}

/// The semaphore sets of all stores of the backend `sem` in this IPC namespace that this user may look at.
///
/// Sets go with their store. A store whose file was removed by hand leaves its sets behind; this finds them. Without this crate,
/// `ipcs -s | grep 0x4c` lists candidates.
///
/// # Errors
/// When `/proc/sysvipc/sem` cannot be read.
pub fn sets() -> Result<Vec<SemaphoreSet>> {
    let listed = kernel::sets()?.into_iter().filter(|set| set.key as u32 & KEY_MASK == KEY);
    let mut sets = Vec::new();
    for candidate in listed {
        let Some(locks) = u16::try_from(candidate.semaphores).ok().and_then(|all| all.checked_sub(LEN)) else { continue };
        if let Some(Identity { store, run, .. }) = Set::of_id(candidate.id).identity(locks)? {
            sets.push(SemaphoreSet { semid: candidate.id, key: candidate.key as u32, store, first: Run::first_of(run) });
        }
    }
    Ok(sets)
}
