use std::fmt;
use std::sync::Arc;

use crate::deadlock_policy::Handling;
use crate::event::event;
use crate::lock::StoreContext;
use crate::{
    Allocation, Backend, Capabilities, DesiredAllocation, Error, HeldLock, Label, Lock, LockId, Manager, Numbering, OpenMode,
    Operation, Reconciled, Registry, Result, StoreId, StoreUrl, UnresolvedDeath, Waiters, Waits, fork, listing,
};

/// An open store of locks. Clones are handles on the same store.
///
/// Programs open a store with `lock_any::open(url)`, or with [`Store::open`] and a [`Registry`].
///
/// Each method can return [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system
/// call fails.
#[derive(Clone)]
pub struct Store {
    manager: Arc<dyn Manager>,
    context: Arc<StoreContext>,
    capabilities: Capabilities,
}

impl Store {
    /// Opens or creates a store by URL, with the backend that the registry contains for the scheme.
    ///
    /// The URL is a text, a [`StoreUrl`], or a [`StoreUrlBuilder`](crate::StoreUrlBuilder).
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl), [`ErrorKind::UnknownScheme`](crate::ErrorKind::UnknownScheme); otherwise as
    /// [`Store::with_backend`].
    pub fn open(registry: &Registry, url: impl TryInto<StoreUrl, Error: Into<Error>>, mode: OpenMode) -> Result<Self> {
        let url: StoreUrl = url.try_into().map_err(Into::into)?;
        Self::with_backend(registry.find(url.scheme())?, &url, mode)
    }

    /// Opens or creates a store with this backend.
    ///
    /// # Errors
    /// - [`ErrorKind::Absent`](crate::ErrorKind::Absent) with [`OpenMode::Open`] when the store does not exist;
    ///   [`ErrorKind::Exists`](crate::ErrorKind::Exists) with [`OpenMode::Create`] when it exists.
    /// - [`ErrorKind::NotAStore`](crate::ErrorKind::NotAStore), [`ErrorKind::OtherVersion`](crate::ErrorKind::OtherVersion),
    ///   [`ErrorKind::OtherAbi`](crate::ErrorKind::OtherAbi), [`ErrorKind::OtherCapacity`](crate::ErrorKind::OtherCapacity) when the
    ///   file is not a store that this program can use.
    /// - [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the store is damaged or truncated.
    /// - [`ErrorKind::Untrusted`](crate::ErrorKind::Untrusted) when its owner, its mode or a link makes it unsafe to use.
    /// - [`ErrorKind::TooManyProcesses`](crate::ErrorKind::TooManyProcesses), [`ErrorKind::Limit`](crate::ErrorKind::Limit),
    ///   [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), [`ErrorKind::System`](crate::ErrorKind::System) when the system
    ///   cannot provide the store.
    /// - [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable), [`ErrorKind::Denied`](crate::ErrorKind::Denied) when a server does not
    ///   answer, or refuses the user.
    /// - [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl) when the backend does not accept the place or an option;
    ///   [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for `deadlocks=refuse` when the backend does not name holders and
    ///   waiters.
    pub fn with_backend(backend: &Backend, url: &StoreUrl, mode: OpenMode) -> Result<Self> {
        let operation = match mode {
            OpenMode::Open => Operation::Open,
            OpenMode::Create => Operation::Create,
            OpenMode::OpenOrCreate => Operation::OpenOrCreate,
        };
        fork::current();
        let open = || Ok((Handling::of(url.deadlocks()?, &backend.capabilities())?, backend.open(url, mode)?));
        let (deadlocks, manager) = open().map_err(|error: Error| error.in_context(operation, &url.shown(), None))?;
        let context = StoreContext {
            id: manager.id(),
            url: url.shown().into_owned(),
            token_base: manager.token_base(),
            manager: Some(Arc::clone(&manager)),
            deadlocks,
            records_waits: backend.capabilities().waiters == Waiters::Named,
        };
        Ok(Self { manager, context: Arc::new(context), capabilities: backend.capabilities() })
    }

    /// Returns the identity of the store, the same in all processes.
    pub fn id(&self) -> StoreId {
        self.context.id
    }

    /// Returns the URL with which the store was opened. A relative path in it is replaced by the absolute one.
    pub fn url(&self) -> &str {
        &self.context.url
    }

    /// Returns the claims of the backend.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Returns the maximum number of locks, or `None` if there is no bound.
    pub fn capacity(&self) -> Option<u64> {
        self.manager.capacity()
    }

    /// Checks that the store's URL still leads to this store.
    ///
    /// For programs that keep a store open for a long time.
    ///
    /// The locks of a store whose file was deleted or replaced only exclude the processes that have it open. Acquiring a lock does not
    /// check this, because the check costs a system call. Allocating and freeing return an error then.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](crate::ErrorKind::Destroyed), [`ErrorKind::Replaced`](crate::ErrorKind::Replaced),
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt).
    pub fn check(&self) -> Result<()> {
        self.with_context(Operation::Check, None, self.manager.check())
    }

    /// Allocates a free id with a label, which may be empty.
    ///
    /// The id is not allocated again until it is freed. If the process is killed during the call, the id is either free or allocated
    /// with its label, and no repair is necessary.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) when no id is free; [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel);
    /// those of [`Store::check`].
    pub fn allocate(&self, label: impl Into<String>) -> Result<Lock> {
        let allocate = || {
            let (id, lock) = self.manager.allocate_lock(&Label::new(label)?)?;
            Ok(Lock::new(lock, Arc::clone(&self.context), id))
        };
        self.with_context(Operation::Allocate, None, allocate())
    }

    /// Allocates a free id for as long as this process lives, as a program does for one run.
    ///
    /// The id is allocated as by [`Store::allocate`] until it is freed. If the process ends without freeing it, or executes another
    /// program, [`Store::reclaim`] frees it. The same happens when the process drops its last handle on the store and its locks. A forked
    /// child does not keep the ids of its parent, except while it holds their locks.
    ///
    /// # Errors
    /// As [`Store::allocate`]; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not claim
    /// [`Temporary::Reclaimed`](crate::Temporary::Reclaimed).
    ///
    /// # Examples
    /// ```
    /// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
    /// # let store = memory::store()?;
    /// use lock_core::Error;
    ///
    /// // Ids that earlier runs left behind must not fill the store.
    /// let lock = match store.allocate_temporary("report") {
    ///     Err(error) if error.is_exhausted() => {
    ///         store.reclaim()?;
    ///         store.allocate_temporary("report")?
    ///     }
    ///     allocated => allocated?,
    /// };
    /// # let _ = lock;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn allocate_temporary(&self, label: impl Into<String>) -> Result<Lock> {
        let allocate = || {
            let id = self.manager.allocate_temporary(&Label::new(label)?)?;
            self.handle_or_free(id)
        };
        self.with_context(Operation::AllocateTemporary, None, allocate())
    }

    /// Frees the [temporary](Store::allocate_temporary) ids of dead processes, and returns them in ascending order.
    ///
    /// An id is freed only if its allocator is proven to have ended or to have closed the store, and if its lock is not held. A process whose
    /// state is unknown counts as alive. Other allocations, also with names or labels, are not freed. Of several threads that call this at
    /// the same time, one frees the id and returns it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not claim
    /// [`Temporary::Reclaimed`](crate::Temporary::Reclaimed); those of [`Store::check`].
    pub fn reclaim(&self) -> Result<Vec<LockId>> {
        self.with_context(Operation::Reclaim, None, self.manager.reclaim())
    }

    /// Raises the maximum number of locks, which [`Store::capacity`] returns. `None` removes the bound.
    ///
    /// Locks stay held and waited for, and ids stay allocated with their labels and names. Every process that has the store open can use the
    /// new ids when the call returns. If the process is killed during the call, the store has the earlier capacity or the new one. The
    /// present capacity is accepted and changes nothing. A store cannot become smaller.
    ///
    /// A URL with the option `capacity` opens the store if the number is between the capacity at the creation and the present one.
    ///
    /// # Errors
    /// - [`ErrorKind::OtherCapacity`](crate::ErrorKind::OtherCapacity) when the store has more locks already, or when the number is more than
    ///   4,294,967,295.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not claim
    ///   [`Growth::Supported`](crate::Growth::Supported).
    /// - Those of [`Store::check`].
    ///
    /// # Examples
    /// ```
    /// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
    /// # let store = memory::store()?;
    /// store.grow(1000)?;
    /// assert_eq!(store.capacity(), Some(1000));
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    pub fn grow(&self, capacity: impl Into<Option<u64>>) -> Result<()> {
        self.with_context(Operation::Grow, None, self.manager.grow(capacity.into()))
    }

    /// Returns a handle on the lock with this id, which need not be allocated.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    pub fn retrieve(&self, id: impl TryInto<LockId, Error: Into<Error>>) -> Result<Lock> {
        let id = self.id_of(Operation::Retrieve, id)?;
        self.with_context(Operation::Retrieve, Some(id), self.handle(id))
    }

    /// Returns a handle on the lock with this id, and allocates the id if it is free.
    ///
    /// Of several threads that call this at the same time, one allocates the id. The label of an id that is already allocated does not
    /// change.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel).
    pub fn get_or_allocate(&self, id: impl TryInto<LockId, Error: Into<Error>>, label: impl Into<String>) -> Result<Lock> {
        let id = self.id_of(Operation::AllocateAndRetrieve, id)?;
        let allocate = || match self.manager.allocate_exact(id, &Label::new(label)?) {
            Ok(()) => self.handle_or_free(id),
            Err(error) if error.kind() == crate::ErrorKind::AlreadyAllocated => self.handle(id),
            Err(error) => Err(error),
        };
        self.with_context(Operation::AllocateAndRetrieve, Some(id), allocate())
    }

    /// Returns the allocation of this id, or `None` if it is free.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt).
    pub fn allocation(&self, id: impl TryInto<LockId, Error: Into<Error>>) -> Result<Option<Allocation>> {
        let id = self.id_of(Operation::ListAllocated, id)?;
        self.with_context(Operation::ListAllocated, Some(id), self.manager.allocation(id))
    }

    /// Returns true if this id is allocated.
    ///
    /// # Errors
    /// As [`Store::allocation`].
    pub fn is_allocated(&self, id: impl TryInto<LockId, Error: Into<Error>>) -> Result<bool> {
        Ok(self.allocation(id)?.is_some())
    }

    /// Allocates this id. For example after a reboot, when a database contains the ids in use.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyAllocated`](crate::ErrorKind::AlreadyAllocated),
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel).
    pub fn allocate_and_retrieve(&self, id: impl TryInto<LockId, Error: Into<Error>>, label: impl Into<String>) -> Result<Lock> {
        let id = self.id_of(Operation::AllocateAndRetrieve, id)?;
        let allocate = || {
            self.manager.allocate_exact(id, &Label::new(label)?)?;
            self.handle_or_free(id)
        };
        self.with_context(Operation::AllocateAndRetrieve, Some(id), allocate())
    }

    /// Returns the lock with this name, and allocates an id under the name on first use.
    ///
    /// All callers of all processes get the same lock, until its id is freed. The next call then allocates an id again. A name has the
    /// limits of a [`Label`] and is not empty. It is the label of the allocation, but an id that another function allocated with the
    /// same label has no name. Names are compared byte by byte, so that two Unicode forms of one text are two names.
    ///
    /// The search reads a few records, regardless of the number of allocated ids. If the process is killed during the call, there is
    /// either no lock or a complete one with this name.
    ///
    /// # Errors
    /// - [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel); [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) when there is no
    ///   lock with the name and no id is free.
    /// - [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) when a thread that allocates a name has not finished for 10 seconds, for
    ///   example because its process is stopped.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not claim
    ///   [`Names::Supported`](crate::Names::Supported).
    /// - Those of [`Store::check`].
    ///
    /// # Examples
    /// ```
    /// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
    /// # let store = memory::store()?;
    /// let lock = store.named("build cache")?;
    /// assert_eq!(store.named("build cache")?.id(), lock.id());
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    pub fn named(&self, name: impl Into<String>) -> Result<Lock> {
        let find = || {
            let name = Label::new(name)?;
            if name.is_empty() {
                return Err(Error::bad_label("", "the name of a lock is empty; give at least one character"));
            }
            loop {
                let (id, generation) = self.manager.named(&name)?;
                let lock = self.handle(id)?;
                // The id may have been freed and allocated again before the handle was created.
                if lock.generation() == generation {
                    return Ok(lock);
                }
            }
        };
        self.with_context(Operation::Named, None, find())
    }

    /// Returns the only lock of a store whose numbering is [`Numbering::Single`]. It has the id 0, which is always allocated.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the store has numbered locks.
    pub fn single(&self) -> Result<Lock> {
        let lock = match self.capabilities.numbering {
            Numbering::Single => self.handle(LockId::new(0)),
            _ => Err(Error::unsupported("the store has numbered locks; give the number of one")),
        };
        self.with_context(Operation::Retrieve, None, lock)
    }

    /// Frees an id, so that it can be allocated again.
    ///
    /// Handles stay valid, and a held lock stays held. A caller that has the [`Lock`] uses [`Lock::free`], which frees the id only if
    /// the handle is not stale.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated), [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange). After an
    /// error nothing has changed.
    pub fn free(&self, id: impl TryInto<LockId, Error: Into<Error>>) -> Result<()> {
        let id = self.id_of(Operation::Free, id)?;
        self.with_context(Operation::Free, Some(id), self.manager.free(id, None))
    }

    /// Frees every id, and returns the number of ids that were allocated.
    ///
    /// **Dangerous**: an id that another program still uses can be allocated again. Held locks stay held. Use it in tests, or when no
    /// other program uses the store.
    ///
    /// # Errors
    /// Those of [`Store::check`].
    pub fn free_all(&self) -> Result<u64> {
        self.with_context(Operation::FreeAll, None, self.manager.free_all())
    }

    /// Returns the number of free ids, or `None` if there is no bound.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the file was truncated.
    pub fn available(&self) -> Result<Option<u64>> {
        self.with_context(Operation::Available, None, self.manager.available())
    }

    /// Allocates and frees ids, so that exactly these ids are allocated, and returns the changes.
    ///
    /// `ids` are ids or integers, or pairs of one of them and the label of a new allocation. The label of an id that is already
    /// allocated does not change. A new allocation has no [name](Store::named). Held locks stay held. The call may free ids that
    /// another program allocates at the same time, so call it when no other program allocates.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel) before any change;
    /// those of [`Store::check`].
    pub fn reconcile(&self, ids: impl IntoIterator<Item: TryInto<DesiredAllocation, Error: Into<Error>>>) -> Result<Reconciled> {
        let reconcile = || {
            let desired = ids.into_iter().map(|id| {
                let DesiredAllocation { id, label } = id.try_into().map_err(Into::into)?;
                Ok((id, label))
            });
            self.manager.reconcile(&desired.collect::<Result<_>>()?)
        };
        self.with_context(Operation::Reconcile, None, reconcile())
    }

    /// Returns the allocated ids in ascending order.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the file was truncated.
    pub fn allocated(&self) -> Result<Vec<Allocation>> {
        self.with_context(Operation::ListAllocated, None, self.manager.allocated())
    }

    /// Returns an iterator over the allocated ids in ascending order, which holds only a part of them in memory.
    ///
    /// An id is returned if it is allocated from the first call of `next` to the last one. An id that is allocated or freed meanwhile
    /// may be returned. The iterator ends after an error.
    ///
    /// # Errors
    /// Each item can be an error of [`Store::allocated`].
    pub fn iter_allocated(&self) -> impl Iterator<Item = Result<Allocation>> + Send + use<> {
        let store = self.clone();
        let page =
            move |from| store.with_context(Operation::ListAllocated, None, store.manager.allocated_from(from, listing::PAGE));
        listing::iter(page, |allocation| allocation.id)
    }

    /// Returns the held locks with their holders, in ascending order of id.
    ///
    /// The call does not acquire, delay or change a lock.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not record which locks are held.
    pub fn held(&self) -> Result<Vec<HeldLock>> {
        self.with_context(Operation::ListHeld, None, self.manager.held())
    }

    /// Returns the threads that wait for locks of the store.
    ///
    /// The call does not acquire, delay or change a lock.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not know which threads wait.
    pub fn waiting(&self) -> Result<Waits> {
        self.with_context(Operation::ListWaiting, None, self.manager.waiting())
    }

    /// Returns an iterator over the held locks, as [`Store::iter_allocated`] does over the allocated ids.
    ///
    /// # Errors
    /// Each item can be an error of [`Store::held`].
    pub fn iter_held(&self) -> impl Iterator<Item = Result<HeldLock>> + Send + use<> {
        let store = self.clone();
        let page = move |from| store.with_context(Operation::ListHeld, None, store.manager.held_from(from, listing::PAGE));
        listing::iter(page, |held| held.id)
    }

    /// Returns an iterator over the locks whose latest owner died or panicked, and whose data no owner has marked consistent since.
    ///
    /// It is in ascending order of id, and has only a part of the list in memory. A lock that a live owner holds is left out. The calls of
    /// `next` do not acquire, delay or change a lock.
    ///
    /// # Errors
    /// Each item can be an error: [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not list them;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the file was truncated.
    pub fn iter_deaths(&self) -> impl Iterator<Item = Result<UnresolvedDeath>> + Send + use<> {
        let store = self.clone();
        let page = move |from| store.with_context(Operation::ListHeld, None, store.manager.deaths_from(from, listing::PAGE));
        listing::iter(page, |death| death.id)
    }

    /// Releases a lock on behalf of its owner, on a backend whose owner death is [`OwnerDeath::Stuck`](crate::OwnerDeath::Stuck).
    ///
    /// **Dangerous** while the owner is alive: a second thread can then enter the critical section.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by backends that recover from the death of an owner.
    pub fn break_lock(&self, id: impl TryInto<LockId, Error: Into<Error>>) -> Result<()> {
        let id = self.id_of(Operation::Break, id)?;
        self.with_context(Operation::Break, Some(id), self.manager.break_lock(id))
    }

    /// Returns facts about the store for display, each with a title and a value.
    pub fn details(&self) -> Vec<(&'static str, String)> {
        self.manager.details()
    }

    /// Removes the store.
    ///
    /// Handles of open stores still exclude each other, but not the handles of a store that is created later.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by backends whose locks other programs use, because those programs
    /// would not notice the removal; those of [`Store::check`].
    pub fn destroy(&self) -> Result<()> {
        self.with_context(Operation::Destroy, None, self.manager.destroy())
    }

    /// Converts an id, with an error of this operation.
    fn id_of(&self, operation: Operation, id: impl TryInto<LockId, Error: Into<Error>>) -> Result<LockId> {
        self.with_context(operation, None, id.try_into().map_err(Into::into))
    }

    fn handle(&self, id: LockId) -> Result<Lock> {
        Ok(Lock::new(self.manager.lock(id)?, Arc::clone(&self.context), id))
    }

    /// Returns a handle on an id that was just allocated, and frees the id when that fails.
    fn handle_or_free(&self, id: LockId) -> Result<Lock> {
        self.handle(id).inspect_err(|_| {
            // The caller gets the error of `handle`.
            let _ = self.manager.free(id, None);
        })
    }

    pub(crate) fn with_context<T>(&self, operation: Operation, id: Option<LockId>, result: Result<T>) -> Result<T> {
        result.map_err(|error: Error| {
            let error = error.in_context(operation, &self.context.url, id);
            if error.is_exhausted() {
                event!(warn, EXHAUSTED, store = self.url(), %error, "no id is free");
            }
            error
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.context.url).field("id", &self.context.id).finish_non_exhaustive()
    }
}
