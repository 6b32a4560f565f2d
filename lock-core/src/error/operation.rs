use std::fmt;

/// The operation in which an [`Error`](crate::Error) occurred.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a store that exists.
    Open,
    /// Creating a store.
    Create,
    /// Opening a store, or creating it if it is absent.
    OpenOrCreate,
    /// Removing a store.
    Destroy,
    /// Checking that the URL of a store still leads to it.
    Check,
    /// Allocating a free id.
    Allocate,
    /// Allocating a given id.
    AllocateAndRetrieve,
    /// Allocating an id for as long as the process lives.
    AllocateTemporary,
    /// Retrieving the lock with a name, which is allocated on first use.
    Named,
    /// Retrieving a handle.
    Retrieve,
    /// Freeing an id.
    Free,
    /// Freeing every id.
    FreeAll,
    /// Counting free ids.
    Available,
    /// Allocating a given set of ids and freeing all others.
    Reconcile,
    /// Raising the maximum number of locks.
    Grow,
    /// Freeing the temporary ids of dead processes.
    Reclaim,
    /// Listing allocated ids.
    ListAllocated,
    /// Listing held locks.
    ListHeld,
    /// Listing waiting threads.
    ListWaiting,
    /// Acquiring a lock.
    Lock,
    /// Releasing a lock.
    Unlock,
    /// Breaking a lock.
    Break,
    /// Preparing a server for stores.
    Migrate,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::OpenOrCreate => "open or create",
            Self::Destroy => "destroy",
            Self::Check => "check",
            Self::Allocate => "allocate",
            Self::AllocateAndRetrieve => "allocate by id",
            Self::AllocateTemporary => "allocate for this process",
            Self::Named => "find or allocate by name",
            Self::Retrieve => "retrieve",
            Self::Free => "free",
            Self::FreeAll => "free all",
            Self::Available => "count",
            Self::Reconcile => "reconcile",
            Self::Grow => "grow",
            Self::Reclaim => "reclaim",
            Self::ListAllocated => "list allocated",
            Self::ListHeld => "list held",
            Self::ListWaiting => "list waiting",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Break => "break",
            Self::Migrate => "migrate",
        })
    }
}
