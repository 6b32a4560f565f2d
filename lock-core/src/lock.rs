use std::fmt;
use std::sync::Arc;

use crate::deadlock_policy::Handling;
use crate::sys::Pinned;
use crate::{Error, Generation, Holder, Label, LockId, Manager, Operation, RawLock, Result, StoreId, Token, fork};

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
#[must_use = "an allocated id stays allocated until it is freed, and its number is in this handle"]
pub struct Lock {
    // The lock without the way through the handle, so that an acquisition reads one pointer. A clone has one count to change.
    raw: Pinned<Handle, dyn RawLock>,
}

/// What the clones of a handle share.
pub(crate) struct Handle {
    raw: Arc<dyn RawLock>,
    store: Arc<StoreContext>,
    id: LockId,
    generation: Option<Generation>,
}

impl Handle {
    #[inline]
    pub(crate) fn raw(&self) -> &dyn RawLock {
        &*self.raw
    }
}

/// The store of a lock.
pub(crate) struct StoreContext {
    pub(crate) id: StoreId,
    pub(crate) url: String,
    /// See [`Manager::token_base`].
    pub(crate) token_base: u64,
    pub(crate) manager: Option<Arc<dyn Manager>>,
    pub(crate) deadlocks: Handling,
    /// Whether a list of waiters has whole waits. Otherwise it has the threads that are asleep.
    pub(crate) records_waits: bool,
}

impl Lock {
    /// Creates a lock that belongs to no store. For backends.
    ///
    /// Messages contain `name` in the place of a URL. `identity` gives the position of the lock in the order of
    /// [`lock_all`](crate::lock_all()).
    pub fn standalone(raw: Arc<dyn RawLock>, name: impl Into<String>, identity: StoreId) -> Self {
        fork::current();
        let store = StoreContext {
            id: identity,
            url: name.into(),
            token_base: 0,
            manager: None,
            deadlocks: Handling::Impossible,
            records_waits: false,
        };
        Self::new(raw, Arc::new(store), LockId::new(0))
    }

    pub(crate) fn new(raw: Arc<dyn RawLock>, store: Arc<StoreContext>, id: LockId) -> Self {
        let generation = raw.initial_generation();
        Self::of_handle(Arc::new(Handle { raw, store, id, generation }))
    }

    pub(crate) fn of_handle(handle: Arc<Handle>) -> Self {
        Self { raw: Pinned::new(handle, |handle| &*handle.raw) }
    }

    #[inline]
    pub(crate) fn into_handle(self) -> Arc<Handle> {
        Pinned::into_owner(self.raw)
    }

    /// Returns the id of the lock in its store. It is 0 for the only lock of a store, and for a lock that belongs to no store.
    pub fn id(&self) -> LockId {
        self.handle().id
    }

    /// Returns the identity of the lock's store, the same in all processes.
    pub fn store_id(&self) -> StoreId {
        self.store().id
    }

    /// Returns the generation of the id when this handle was created, or `None` when the backend does not count allocations.
    pub fn generation(&self) -> Option<Generation> {
        self.handle().generation
    }

    /// Returns the current label of the id, or `None` when it is not allocated or the lock belongs to no store.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the store is damaged.
    pub fn label(&self) -> Result<Option<Label>> {
        let Handle { store, id, .. } = self.handle();
        let allocation = store.manager.as_ref().map_or(Ok(None), |manager| manager.allocation(*id));
        let allocation = allocation.map_err(|error| self.in_context(error, Operation::ListAllocated))?;
        Ok(allocation.map(|allocation| allocation.label))
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
        self.generation() != self.raw.generation()
    }

    /// Frees the id, so that it can be allocated again.
    ///
    /// All handles on the lock stay valid, and a held lock stays held.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated) when the id is free; [`ErrorKind::Stale`](crate::ErrorKind::Stale)
    /// when the handle [is stale](Lock::is_stale). After an error nothing has changed.
    pub fn free(&self) -> Result<()> {
        let Handle { store, id, generation, .. } = self.handle();
        let free = || match &store.manager {
            Some(manager) => manager.free(*id, *generation),
            None => Err(Error::unsupported("a lock that belongs to no store cannot be freed")),
        };
        free().map_err(|error| self.in_context(error, Operation::Free))
    }

    fn handle(&self) -> &Handle {
        Pinned::owner(&self.raw)
    }

    /// Returns the URL of the store, or the name of a lock that belongs to no store.
    #[cfg(feature = "tracing")]
    pub(crate) fn store_url(&self) -> &str {
        &self.store().url
    }

    #[inline]
    pub(crate) fn raw(&self) -> &dyn RawLock {
        &*self.raw
    }

    pub(crate) fn store(&self) -> &StoreContext {
        &self.handle().store
    }

    /// Returns the key by which [`lock_all`](crate::lock_all()) orders locks.
    pub(crate) fn order(&self) -> (StoreId, LockId) {
        (self.store_id(), self.id())
    }

    /// Returns the token of an acquisition with this number, or `None` if the backend has none.
    pub(crate) fn token(&self, number: u64) -> Option<Token> {
        (number != 0).then(|| Token::new(self.store().token_base.saturating_add(number)))
    }

    pub(crate) fn in_context(&self, error: Error, operation: Operation) -> Error {
        let Handle { store, id, .. } = self.handle();
        error.in_context(operation, &store.url, store.manager.is_some().then_some(*id))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("store", &self.store().url).field("id", &self.id().get()).finish_non_exhaustive()
    }
}
