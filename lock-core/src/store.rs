use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::lock::StoreContext;
use crate::{
    Allocation, Backend, Capabilities, Error, HeldLock, Label, Lock, LockId, Manager, OpenMode, Operation, Reconciled, Registry,
    Result, StoreId, StoreUrl, fork,
};

/// An open store of locks, as users hold it. Clones are handles on the same one.
///
/// Programs get one from `lock_any::open(url)` and its sisters, or from the [`Registry`] of what they have linked.
#[derive(Clone)]
pub struct Store {
    manager: Arc<dyn Manager>,
    context: Arc<StoreContext>,
    capabilities: Capabilities,
}

impl Store {
    /// Opens, creates, or does whichever it takes, by URL, with the backend that the registry has for its scheme.
    ///
    /// # Errors
    /// Those of [`StoreUrl`], [`Registry::find`], and of the row "open" of the contract: the store is absent or exists; is not a
    /// store, or of another version, ABI or capacity; is truncated or corrupt; is not safe to use.
    pub fn open(registry: &Registry, url: &str, mode: OpenMode) -> Result<Self> {
        let url: StoreUrl = url.parse()?;
        Self::with_backend(registry.find(url.scheme())?, &url, mode)
    }

    /// The same with a backend at hand.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_backend(backend: &Backend, url: &StoreUrl, mode: OpenMode) -> Result<Self> {
        let operation = match mode {
            OpenMode::Open => Operation::Open,
            OpenMode::Create => Operation::Create,
            OpenMode::OpenOrCreate => Operation::OpenOrCreate,
        };
        fork::current();
        let manager = backend.open(url, mode).map_err(|error| error.in_context(operation, url.as_str(), None))?;
        let context = StoreContext { id: manager.id(), url: url.as_str().to_owned(), manager: Some(Arc::clone(&manager)) };
        Ok(Self { manager, context: Arc::new(context), capabilities: backend.capabilities() })
    }

    /// Its identity, the same in every process that has it open.
    pub fn id(&self) -> StoreId {
        self.context.id
    }

    /// The URL it was opened by.
    pub fn url(&self) -> &str {
        &self.context.url
    }

    /// What its backend claims.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// How many locks it can have; `None` where there is no bound.
    pub fn capacity(&self) -> Option<u64> {
        self.manager.capacity()
    }

    /// Whether whoever opens the store by its URL now gets this one: for who keeps a store open for long.
    ///
    /// A store whose file was deleted or replaced goes on excluding those who have it open, and nobody else; that is what locking does
    /// not look at, since it would cost a system call. Allocating and freeing are refused then.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](crate::ErrorKind::Destroyed), [`ErrorKind::Replaced`](crate::ErrorKind::Replaced); what is wrong with
    /// the store.
    pub fn check(&self) -> Result<()> {
        self.done(Operation::Check, None, self.manager.check())
    }

    /// Allocates a free id, which nobody gets again until it is freed. The label says what for; it may be empty. Killed at any
    /// instruction, the id is either free again with nobody's help or allocated with its label readable.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel).
    pub fn allocate(&self, label: impl Into<String>) -> Result<Lock> {
        let allocate = || {
            let id = self.manager.allocate(&Label::new(label)?)?;
            self.handle_or_free(id)
        };
        self.done(Operation::Allocate, None, allocate())
    }

    /// A handle on the lock with this id, which need not be allocated.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    pub fn retrieve(&self, id: impl Into<LockId>) -> Result<Lock> {
        let id = id.into();
        self.done(Operation::Retrieve, Some(id), self.handle(id))
    }

    /// Allocates this very id, as after a restart, when a database says which ids are in use.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyAllocated`](crate::ErrorKind::AlreadyAllocated),
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel).
    pub fn allocate_and_retrieve(&self, id: impl Into<LockId>, label: impl Into<String>) -> Result<Lock> {
        let id = id.into();
        let allocate = || {
            self.manager.allocate_exact(id, &Label::new(label)?)?;
            self.handle_or_free(id)
        };
        self.done(Operation::AllocateAndRetrieve, Some(id), allocate())
    }

    /// The only lock of a store whose locks have no numbers.
    ///
    /// # Errors
    /// Refused where locks have numbers.
    pub fn single(&self) -> Result<Lock> {
        let lock = self.manager.single().map(|raw| Lock::new(raw, Arc::clone(&self.context), None));
        self.done(Operation::Retrieve, None, lock)
    }

    /// Gives an id back, so that it can be allocated again. Handles stay usable, and a lock that is held stays held.
    /// Who has the [`Lock`] calls [`Lock::free`] instead, which frees only the allocation that the handle belongs to.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated) and [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange);
    /// then nothing changes.
    pub fn free(&self, id: impl Into<LockId>) -> Result<()> {
        let id = id.into();
        self.done(Operation::Free, Some(id), self.manager.free(id, None))
    }

    /// Frees every id and says how many were allocated. **Dangerous**: whoever believes to own an id may meet another owner of it
    /// from now on. Locks that are held stay held. For tests, and for starting over when nobody else runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_all(&self) -> Result<u64> {
        self.done(Operation::FreeAll, None, self.manager.free_all())
    }

    /// How many ids are free; `None` where there is no bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn available(&self) -> Result<Option<u64>> {
        self.done(Operation::Available, None, self.manager.available())
    }

    /// Makes these ids, and no others, the allocated ones, as after a restart; says which it claimed and which it freed.
    /// Locks that are held stay held. Allocations that others make meanwhile may be undone: run it when nobody else allocates.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), and then nothing is changed.
    pub fn reconcile(&self, ids: impl IntoIterator<Item = LockId>) -> Result<Reconciled> {
        let ids: BTreeSet<_> = ids.into_iter().collect();
        self.done(Operation::Reconcile, None, self.manager.reconcile(&ids))
    }

    /// The allocated ids, in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn allocated(&self) -> Result<Vec<Allocation>> {
        self.done(Operation::ListAllocated, None, self.manager.allocated())
    }

    /// The locks that are held at this moment, in order, and by whom. It never takes, delays or changes a lock.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where the backend does not know.
    pub fn held(&self) -> Result<Vec<HeldLock>> {
        self.done(Operation::ListHeld, None, self.manager.held())
    }

    /// Takes a lock from its owner, on a backend whose owner death is [`OwnerDeath::Stuck`](crate::OwnerDeath::Stuck).
    /// **Dangerous** while the owner lives: then two are in.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by backends that recover by themselves.
    pub fn break_lock(&self, id: impl Into<LockId>) -> Result<()> {
        let id = id.into();
        self.done(Operation::Break, Some(id), self.manager.break_lock(id))
    }

    /// Facts about the store for people to read, as pairs of a title and a value.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        self.manager.details()
    }

    /// Removes the store from the system. Handles that are open go on excluding each other, but whoever opens it from now on gets
    /// another store.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by backends that share their locks with programs which would not
    /// notice; what the system says.
    pub fn destroy(&self) -> Result<()> {
        self.done(Operation::Destroy, None, self.manager.destroy())
    }

    fn handle(&self, id: LockId) -> Result<Lock> {
        Ok(Lock::new(self.manager.lock(id)?, Arc::clone(&self.context), Some(id)))
    }

    /// The same for an id that was just allocated: it is freed again where there is no handle to return.
    fn handle_or_free(&self, id: LockId) -> Result<Lock> {
        self.handle(id).inspect_err(|_| {
            // The error that says why there is no handle is the one to return.
            let _ = self.manager.free(id, None);
        })
    }

    fn done<T>(&self, operation: Operation, id: Option<LockId>, result: Result<T>) -> Result<T> {
        result.map_err(|error: Error| error.in_context(operation, &self.context.url, id))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.context.url).field("id", &self.context.id).finish_non_exhaustive()
    }
}
