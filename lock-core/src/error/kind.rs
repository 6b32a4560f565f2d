use std::fmt;
use std::io;

use super::ErrorDetails;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal, $io:ident;)+) => {
        /// The kind of an [`Error`](crate::Error), to compare and to match on.
        ///
        /// [`ErrorDetails`] has the same variants with the data of each kind. It is displayed in a few words, without the data.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $kind,)+ }

        impl fmt::Display for ErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$kind => $text,)+ })
            }
        }

        /// The nearest kind of [`io::Error`]. A failed system call has its own kind, which [`Error`](crate::Error) uses.
        impl From<ErrorKind> for io::ErrorKind {
            fn from(kind: ErrorKind) -> Self {
                match kind { $(ErrorKind::$kind => Self::$io,)+ }
            }
        }

        impl From<&ErrorDetails> for ErrorKind {
            fn from(details: &ErrorDetails) -> Self {
                match details { $(ErrorDetails::$kind { .. } => Self::$kind,)+ }
            }
        }
    };
}

kinds! {
    /// The URL of a store is not valid.
    BadUrl = "bad store URL", InvalidInput;
    /// No linked backend has the scheme.
    UnknownScheme = "unknown scheme", Unsupported;
    /// Two crates register the same scheme.
    DuplicateScheme = "duplicate scheme", Other;
    /// The label is not valid.
    BadLabel = "bad label", InvalidInput;
    /// The store does not exist.
    Absent = "no such store", NotFound;
    /// The store already exists.
    Exists = "the store already exists", AlreadyExists;
    /// The file is not a store.
    NotAStore = "not a store", InvalidData;
    /// The store has another version of the format.
    OtherVersion = "other format version", InvalidData;
    /// The store belongs to another backend, or to a program with another ABI.
    OtherAbi = "other backend or ABI", InvalidData;
    /// The store has another capacity than the requested one.
    OtherCapacity = "other capacity", InvalidInput;
    /// The store is damaged.
    Corrupt = "corrupt store", InvalidData;
    /// The store is not safe to use because of its owner, its mode, a symbolic link or a hard link.
    Untrusted = "unsafe store", PermissionDenied;
    /// The store was destroyed while it was open.
    Destroyed = "the store was destroyed", NotFound;
    /// While the store was open, another store got its name. Opening the URL now opens the other store.
    Replaced = "the store was replaced", NotFound;
    /// Every entry of the process table is in use.
    TooManyProcesses = "too many processes", ResourceBusy;
    /// No id is free.
    Exhausted = "no id is free", StorageFull;
    /// The id is beyond the capacity.
    OutOfRange = "the id is out of range", InvalidInput;
    /// The id is already allocated.
    AlreadyAllocated = "the id is already allocated", AlreadyExists;
    /// The id is not allocated.
    NotAllocated = "the id is not allocated", NotFound;
    /// The id was freed and allocated again since the handle was created.
    Stale = "the handle is stale", NotFound;
    /// The deadline passed.
    TimedOut = "timed out", TimedOut;
    /// The wait was cancelled.
    Cancelled = "cancelled", Interrupted;
    /// The wait closed a cycle of threads that wait for each other, and its options refuse that.
    Deadlock = "deadlock", Deadlock;
    /// The calling thread already holds the lock.
    AlreadyHeld = "this thread already holds the lock", Deadlock;
    /// The caller does not hold the lock, for example because its process inherited the guard by a fork.
    NotHeld = "this process does not hold the lock", PermissionDenied;
    /// The guard still exists, and its thread no longer holds the lock: the lock was broken, or another owner took it over.
    Lost = "the lock was lost", Other;
    /// A server gives no answer.
    Unreachable = "a server cannot be reached", NotConnected;
    /// A server refuses the user, or what the user asks for.
    Denied = "a server denies access", PermissionDenied;
    /// The backend does not support the operation.
    Unsupported = "not supported", Unsupported;
    /// A system limit was reached.
    Limit = "a system limit was reached", Other;
    /// A system call failed.
    System = "a system call failed", Other;
}
