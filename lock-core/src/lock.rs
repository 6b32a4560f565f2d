use std::fmt;
use std::sync::Arc;

use crate::sys::Pinned;
use crate::{Error, Generation, Holder, LockId, Manager, Operation, RawLock, Result, StoreId, fork};

/// A lock, as users hold it: a handle that any number of threads can share and that keeps its store open.
///
/// It comes from a [`Store`](crate::Store). Handles with the same id of the same store are the same lock, in all threads of all
/// processes. Freeing the id does not hurt: the handle goes on excluding all others on that id.
///
/// # Examples
/// With the backend `shm`:
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let url = format!("shm:{}/store", directory.path().display());
/// # let registry = lock_core::Registry::default().merge([lock_shm::BACKEND])?;
/// # let store = lock_core::Store::open(&registry, &url, lock_core::OpenMode::Create)?;
/// let lock = store.allocate("an example")?;
/// {
///     let guard = lock.lock()?;
///     if let Some(death) = guard.recovered() {
///         eprintln!("{death}: checking what it left");
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

/// The store that a lock belongs to.
pub(crate) struct StoreContext {
    pub(crate) id: StoreId,
    pub(crate) url: String,
    pub(crate) manager: Option<Arc<dyn Manager>>,
}

impl Lock {
    /// A lock that belongs to no store, as LXC's private lock; `name` stands for it in messages, and `identity` orders it in
    /// [`lock_all`](crate::lock_all()). For backends.
    pub fn standalone(raw: Arc<dyn RawLock>, name: impl Into<String>, identity: StoreId) -> Self {
        fork::current();
        let store = StoreContext { id: identity, url: name.into(), manager: None };
        Self::new(raw, Arc::new(store), None)
    }

    pub(crate) fn new(raw: Arc<dyn RawLock>, store: Arc<StoreContext>, id: Option<LockId>) -> Self {
        let generation = raw.generation();
        Self { raw: Pinned::whole(raw), store, id, generation }
    }

    /// The number of the lock in its store; `None` for a lock without a number.
    pub fn id(&self) -> Option<LockId> {
        self.id
    }

    /// Who holds the lock at this moment, where the backend knows; it takes, delays and changes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn holder(&self) -> Result<Option<Holder>> {
        self.raw.holder().map_err(|error| self.in_context(error, Operation::ListHeld))
    }

    /// How many threads wait for the lock, where the backend knows.
    pub fn waiters(&self) -> Option<u32> {
        self.raw.waiters()
    }

    /// Whether the id was freed and handed to somebody else since this handle was made. The handle excludes that somebody all the
    /// same. Always false where allocations are not counted.
    pub fn is_stale(&self) -> bool {
        self.generation != self.raw.generation()
    }

    /// Gives the id back, so that it can be allocated again. The lock stays usable through this handle and all others, and if
    /// somebody holds it, it stays held.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`]; [`ErrorKind::Stale`] when the id belongs to somebody else by now (and then nothing changes).
    pub fn free(&self) -> Result<()> {
        let free = || match (&self.store.manager, self.id) {
            (Some(manager), Some(id)) => manager.free(id, self.generation),
            _ => Err(Error::unsupported("it has no number, so there is nothing to free")),
        };
        free().map_err(|error| self.in_context(error, Operation::Free))
    }

    #[inline]
    pub(crate) fn raw(&self) -> &dyn RawLock {
        &*self.raw
    }

    /// The order in which [`lock_all`](crate::lock_all()) takes locks.
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
