use std::collections::BTreeMap;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use crate::{Error, Generation, Holder, Label, LockId, RawLock, Result, StoreId, Waits};

/// The part of a store that a backend implements. Programs use a [`Store`](crate::Store).
///
/// [`Store`](crate::Store) adds the operation, the store and the id to each error. A backend overrides the default methods that its
/// [`Capabilities`](crate::Capabilities) claim. The others return [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
///
/// Each method can also return [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when
/// a system call fails.
pub trait Manager: Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug {
    /// Returns the identity of the store, the same in all processes.
    fn id(&self) -> StoreId;

    /// Returns the maximum number of locks, or `None` if there is no bound.
    fn capacity(&self) -> Option<u64>;

    /// Checks that the store's URL still leads to this store, and that the store is intact.
    ///
    /// The default is for backends whose stores cannot lose their names.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](crate::ErrorKind::Destroyed), [`ErrorKind::Replaced`](crate::ErrorKind::Replaced),
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt).
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the number to which the tokens of the store's locks are added.
    ///
    /// The tokens of a store have to be greater than those of a store that it replaced. A backend that claims
    /// [`Tokens::Fencing`](crate::Tokens::Fencing) and counts from 0 in each store returns the time of the store's creation, in
    /// nanoseconds since 1970: no lock is acquired once in a nanosecond.
    fn token_base(&self) -> u64 {
        0
    }

    /// Returns the lock with this id, which need not be allocated.
    ///
    /// A store whose numbering is [`Numbering::Single`](crate::Numbering::Single) has one lock. Its id is 0 and is always allocated.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>>;

    /// Allocates a free id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), only after a full scan.
    fn allocate(&self, label: &Label) -> Result<LockId>;

    /// Allocates a free id, and returns it with its lock.
    ///
    /// The default calls [`Manager::allocate`] and [`Manager::lock`], and frees the id when the second fails. A backend for which both are
    /// questions to a server asks once.
    ///
    /// # Errors
    /// As [`Manager::allocate`] and [`Manager::lock`].
    fn allocate_lock(&self, label: &Label) -> Result<(LockId, Arc<dyn RawLock>)> {
        let id = self.allocate(label)?;
        let lock = self.lock(id).inspect_err(|_| {
            // The caller gets the error of `lock`.
            let _ = self.free(id, None);
        })?;
        Ok((id, lock))
    }

    /// Allocates this id, if it is free.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyAllocated`](crate::ErrorKind::AlreadyAllocated),
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()>;

    /// Returns the id that is allocated under this name, and its generation where the backend counts allocations.
    ///
    /// Allocates an id under the name if there is none. The name is not empty. It is the label of the allocation, whose
    /// [`Allocation::is_named`] is true. Other allocations with the same label are not found. Of several callers that race for a new
    /// name, one allocates the id, and all get it. A process that is killed at any instruction leaves no name or a complete one.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), only after a full scan.
    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        let _ = name;
        Err(Error::unsupported("it does not find locks by name; keep the ids of allocated locks"))
    }

    /// Frees an id. If a generation is given, the id must have that generation.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated), [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange),
    /// [`ErrorKind::Stale`](crate::ErrorKind::Stale).
    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()>;

    /// Frees every id, and returns the number of ids that were allocated.
    ///
    /// # Errors
    /// Those of every method.
    fn free_all(&self) -> Result<u64>;

    /// Returns the number of free ids, or `None` if there is no bound.
    ///
    /// # Errors
    /// Those of every method.
    fn available(&self) -> Result<Option<u64>>;

    /// Returns the allocated ids in ascending order.
    ///
    /// # Errors
    /// Those of every method.
    fn allocated(&self) -> Result<Vec<Allocation>>;

    /// Returns allocated ids from `from` on, in ascending order: the first `limit`, or more.
    ///
    /// The result is empty only if there is no such id. [`Store::iter_allocated`](crate::Store::iter_allocated) calls this repeatedly.
    /// The default returns the rest of [`Manager::allocated`].
    ///
    /// # Errors
    /// Those of every method.
    fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        let _ = limit;
        Ok(self.allocated()?.into_iter().filter(|allocation| allocation.id >= from).collect())
    }

    /// Returns the allocation of this id, or `None` if it is free.
    ///
    /// The default searches [`Manager::allocated_from`].
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    fn allocation(&self, id: LockId) -> Result<Option<Allocation>> {
        if let Some(capacity) = self.capacity().filter(|capacity| u64::from(id.get()) >= *capacity) {
            return Err(Error::out_of_range(capacity));
        }
        Ok(self.allocated_from(id, 1)?.into_iter().find(|allocation| allocation.id == id))
    }

    /// Allocates and frees ids, so that exactly these ids are allocated.
    ///
    /// An id that the call allocates gets its label. The label of an id that is already allocated does not change.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) before any change.
    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        let _ = ids;
        Err(Error::unsupported("it cannot replace the set of allocated ids"))
    }

    /// Returns the held locks in ascending order of id. The call does not acquire, delay or change a lock.
    ///
    /// # Errors
    /// Those of every method.
    fn held(&self) -> Result<Vec<HeldLock>> {
        Err(Error::unsupported("it does not record which locks are held"))
    }

    /// Returns held locks from `from` on, as [`Manager::allocated_from`] returns ids. The default returns the rest of [`Manager::held`].
    ///
    /// # Errors
    /// Those of every method.
    fn held_from(&self, from: LockId, limit: usize) -> Result<Vec<HeldLock>> {
        let _ = limit;
        Ok(self.held()?.into_iter().filter(|lock| lock.id >= from).collect())
    }

    /// Returns the threads that wait for locks of the store. The call does not acquire, delay or change a lock.
    ///
    /// # Errors
    /// Those of every method.
    fn waiting(&self) -> Result<Waits> {
        Err(Error::unsupported("it does not know which threads wait"))
    }

    /// Releases a lock on behalf of its owner, whether the owner is alive or dead.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by backends that recover from the death of an owner.
    fn break_lock(&self, id: LockId) -> Result<()> {
        let _ = id;
        Err(Error::unsupported("it recovers automatically from the death of an owner; acquire the lock instead of breaking it"))
    }

    /// Returns facts about the store for display, each with a title and a value.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Removes the store. Handles of open stores still exclude each other.
    ///
    /// # Errors
    /// Those of every method.
    fn destroy(&self) -> Result<()> {
        Err(Error::unsupported("other programs may use the locks, which would no longer exclude each other"))
    }
}

/// An allocated id, with the facts that the store records about it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Allocation {
    /// The id.
    pub id: LockId,
    /// The label of the allocation.
    pub label: Label,
    /// True if [`Store::named`](crate::Store::named) allocated the id. The label is its name.
    #[cfg_attr(feature = "serde", serde(default))]
    pub is_named: bool,
    /// The generation of the id, where the backend counts allocations.
    pub generation: Option<Generation>,
    /// The process that allocated the id, where it is known. The process may have ended.
    pub allocator: Option<Holder>,
    /// The time of the allocation, in seconds since 1970-01-01 00:00 UTC, as read from the system clock.
    pub since: Option<u64>,
}

impl Allocation {
    /// Creates an allocation of which only the id is known.
    pub fn new(id: LockId) -> Self {
        Self { id, label: Label::default(), is_named: false, generation: None, allocator: None, since: None }
    }
}

/// A lock that is held.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HeldLock {
    /// The id.
    pub id: LockId,
    /// The holder, where it is known.
    pub holder: Option<Holder>,
    /// The number of waiting threads, where it is known.
    pub waiters: Option<u32>,
    /// The time for which the owner has held the lock at least, where it is known. It may have held the lock for longer. Serialized as a
    /// number of seconds.
    #[cfg_attr(feature = "serde", serde(default, with = "crate::serialize::seconds", skip_serializing_if = "Option::is_none"))]
    pub held_for_at_least: Option<Duration>,
    /// The reason why the holder is not certain, or is not named. `None` if the holder is certain.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub doubt: Option<String>,
}

impl HeldLock {
    /// Creates a held lock with an unknown number of waiters.
    pub fn new(id: LockId, holder: Option<Holder>) -> Self {
        Self { id, holder, waiters: None, held_for_at_least: None, doubt: None }
    }
}

/// The changes of [`Manager::reconcile`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Reconciled {
    /// The ids that the call allocated, in ascending order.
    pub allocated: Vec<LockId>,
    /// The ids that the call freed, in ascending order.
    pub freed: Vec<LockId>,
}
