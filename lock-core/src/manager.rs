use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::{Error, Generation, Holder, Label, LockId, RawLock, Result, StoreId};

/// The plug-in side of a store: what a backend implements, and [`Store`](crate::Store) is built on.
///
/// Errors need no context: the user side adds the operation, the store and the id. Of the methods with a default, a backend
/// implements those that its [`Capabilities`](crate::Capabilities) claim; a default refuses.
pub trait Manager: Send + Sync + fmt::Debug {
    /// Which store this is, the same in every process that has it open.
    fn id(&self) -> StoreId;

    /// How many locks there can be; `None` where there is no bound.
    fn capacity(&self) -> Option<u64>;

    /// Whether whoever opens the store by its URL now gets this one.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](crate::ErrorKind::Destroyed), [`ErrorKind::Replaced`](crate::ErrorKind::Replaced); what is wrong with
    /// the store. A backend whose stores cannot lose their names need not implement it.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The plug-in side of the lock with this id, allocated or not.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>>;

    /// The only lock of a store whose numbering is [`Numbering::Single`](crate::Numbering::Single).
    ///
    /// # Errors
    /// Refused by numbered stores.
    fn single(&self) -> Result<Arc<dyn RawLock>> {
        Err(Error::unsupported("its locks have numbers; say which"))
    }

    /// Allocates a free id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), only after a full scan.
    fn allocate(&self, label: &Label) -> Result<LockId>;

    /// Allocates this id.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyAllocated`](crate::ErrorKind::AlreadyAllocated),
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()>;

    /// Frees an id; where a generation is given, only that allocation of it.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated), [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange),
    /// [`ErrorKind::Stale`](crate::ErrorKind::Stale).
    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()>;

    /// Frees every id; returns how many were allocated.
    ///
    /// # Errors
    /// What the system says.
    fn free_all(&self) -> Result<u64>;

    /// How many ids are free; `None` where there is no bound.
    ///
    /// # Errors
    /// What the system says.
    fn available(&self) -> Result<Option<u64>>;

    /// The allocated ids, in order.
    ///
    /// # Errors
    /// What the system says.
    fn allocated(&self) -> Result<Vec<Allocation>>;

    /// Makes these ids, and no others, the allocated ones.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), and then nothing is changed.
    fn reconcile(&self, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        let _ = ids;
        Err(Error::unsupported("it does not reconcile"))
    }

    /// The locks that are held at this moment, in order of id, without taking, delaying or changing any.
    ///
    /// # Errors
    /// What the system says.
    fn held(&self) -> Result<Vec<HeldLock>> {
        Err(Error::unsupported("it does not know which locks are held"))
    }

    /// Takes the lock from its owner, dead or alive.
    ///
    /// # Errors
    /// Refused by backends that recover by themselves.
    fn break_lock(&self, id: LockId) -> Result<()> {
        let _ = id;
        Err(Error::unsupported("it recovers from the death of an owner by itself; there is nothing to break"))
    }

    /// Facts about the store for people to read, as pairs of a title and a value.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Removes the store from the system. Handles that are open go on excluding each other.
    ///
    /// # Errors
    /// What the system says.
    fn destroy(&self) -> Result<()> {
        Err(Error::unsupported("others may be using its locks, which would no longer exclude each other"))
    }
}

/// An allocated id.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Allocation {
    /// The id.
    pub id: LockId,
    /// What it was allocated for.
    pub label: Label,
    /// Which allocation of the id it is, where that is counted.
    pub generation: Option<Generation>,
    /// Process and command that allocated it, where known; it need not live any more.
    pub allocator: Option<Holder>,
    /// When, in seconds since the epoch, by the wall clock of that time.
    pub since: Option<u64>,
}

impl Allocation {
    /// An allocation of which nothing else is known.
    pub fn new(id: LockId) -> Self {
        Self { id, label: Label::default(), generation: None, allocator: None, since: None }
    }
}

/// A lock that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HeldLock {
    /// The id.
    pub id: LockId,
    /// By whom, where known.
    pub holder: Option<Holder>,
    /// The number of waiters, where known.
    pub waiters: Option<u32>,
}

impl HeldLock {
    /// A held lock.
    pub fn new(id: LockId, holder: Option<Holder>) -> Self {
        Self { id, holder, waiters: None }
    }
}

/// What [`Manager::reconcile`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Reconciled {
    /// Ids that were free and are allocated now, in order.
    pub claimed: Vec<LockId>,
    /// Ids that were allocated and are free now, in order.
    pub freed: Vec<LockId>,
}
