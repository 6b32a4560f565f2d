use std::fmt;
use std::sync::Arc;

use crate::sys::Pinned;
use crate::{Error, Generation, Holder, LockId, Manager, Operation, RawLock, Result, StoreId, fork};

/// A handle on a lock. Threads can share it, and it keeps its store open.
///
/// A [`Store`](crate::Store) returns handles. Handles with the same id of the same store denote the same lock, in all threads of all
/// processes. A handle stays valid when its id is freed: it still excludes all other handles with that id.
///
/// # Examples
/// ```
/// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
/// # let store = memory::store()?;
/// let lock = store.allocate("an example")?;
/// {
///     let guard = lock.lock()?;
///     if let Some(death) = guard.recovered() {
///         eprintln!("{death}: checking the protected data");
///     }
/// } // released
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock {
    raw: Pinned<dyn RawLock, dyn RawLock>,
    store: Arc<StoreContext>,
    id: Option<LockId>,
    generation: Option<Generation>,
}

/// The store of a lock.
pub(crate) struct StoreContext {
    pub(crate) id: StoreId,
    pub(crate) url: String,
    pub(crate) manager: Option<Arc<dyn Manager>>,
}

impl Lock {
    /// Creates a lock that belongs to no store. For backends.
    ///
    /// Messages contain `name` in the place of a URL. `identity` gives the position of the lock in the order of
    /// [`lock_all`](crate::lock_all()).
    pub fn standalone(raw: Arc<dyn RawLock>, name: impl Into<String>, identity: StoreId) -> Self {
        fork::current();
        let store = StoreContext { id: identity, url: name.into(), manager: None };
        Self::new(raw, Arc::new(store), None)
    }

    pub(crate) fn new(raw: Arc<dyn RawLock>, store: Arc<StoreContext>, id: Option<LockId>) -> Self {
        let generation = raw.generation();
        Self { raw: Pinned::whole(raw), store, id, generation }
    }

    /// Returns the id of the lock in its store, or `None` for a lock without a number.
    pub fn id(&self) -> Option<LockId> {
        self.id
    }

    /// Returns the current holder, or `None` when the lock is free or the backend does not record holders.
    ///
    /// The call does not acquire, delay or change the lock.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    pub fn holder(&self) -> Result<Option<Holder>> {
        self.raw.holder().map_err(|error| self.in_context(error, Operation::ListHeld))
    }

    /// Returns the number of waiting threads, or `None` when the backend does not count them.
    pub fn waiters(&self) -> Option<u32> {
        self.raw.waiters()
    }

    /// Returns true if the id was freed and allocated again since this handle was created.
    ///
    /// A stale handle still excludes all other handles with its id. Always false on a backend that does not count allocations
    /// ([`Generations::Unknown`](crate::Generations::Unknown)).
    pub fn is_stale(&self) -> bool {
        self.generation != self.raw.generation()
    }

    /// Frees the id, so that it can be allocated again.
    ///
    /// All handles on the lock stay valid, and a held lock stays held.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated) when the id is free; [`ErrorKind::Stale`](crate::ErrorKind::Stale)
    /// when the handle [is stale](Lock::is_stale). After an error nothing has changed.
    pub fn free(&self) -> Result<()> {
        let free = || match (&self.store.manager, self.id) {
            (Some(manager), Some(id)) => manager.free(id, self.generation),
            _ => Err(Error::unsupported("a lock with no number cannot be freed")),
        };
        free().map_err(|error| self.in_context(error, Operation::Free))
    }

    #[inline]
    pub(crate) fn raw(&self) -> &dyn RawLock {
        &*self.raw
    }

    /// Returns the key by which [`lock_all`](crate::lock_all()) orders locks.
    pub(crate) fn order(&self) -> (StoreId, Option<LockId>) {
        (self.store.id, self.id)
    }

    pub(crate) fn in_context(&self, error: Error, operation: Operation) -> Error {
        error.in_context(operation, &self.store.url, self.id)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Lock");
        f.field("store", &self.store.url);
        if let Some(id) = self.id {
            f.field("id", &id.get());
        }
        f.finish_non_exhaustive()
    }
}
