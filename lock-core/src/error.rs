use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Holder, LockId, advice};

/// A [`Result`](std::result::Result) with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an operation, with the operation, the store, the lock and the file.
///
/// It is displayed as one line: `OPERATION ID of STORE: CAUSE; ADVICE`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Option<Operation>,
    store: Option<String>,
    id: Option<LockId>,
    file: Option<PathBuf>,
    /// Advice that the message of the kind does not contain.
    advice: Option<String>,
}

/// The operation in which an [`Error`] occurred.
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
    /// Listing allocated ids.
    ListAllocated,
    /// Listing held locks.
    ListHeld,
    /// Acquiring a lock.
    Lock,
    /// Releasing a lock.
    Unlock,
    /// Breaking a lock.
    Break,
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
            Self::Retrieve => "retrieve",
            Self::Free => "free",
            Self::FreeAll => "free all",
            Self::Available => "count",
            Self::Reconcile => "reconcile",
            Self::ListAllocated => "list allocated",
            Self::ListHeld => "list held",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Break => "break",
        })
    }
}

/// The kind of an [`Error`], for programs to match on.
///
/// For messages, display the [`Error`], which has the context.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The URL of a store is not valid.
    #[error("bad store URL {url:?}: {reason}")]
    BadUrl {
        /// The URL.
        url: String,
        /// The mistake, and the correct form.
        reason: String,
    },
    /// No linked backend has the scheme.
    #[error("no backend for the scheme {scheme:?} is linked into this program; {hint}")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// The linked schemes, and the feature that adds this one.
        hint: String,
    },
    /// Two crates register the same scheme.
    #[error("the scheme {scheme:?} is claimed by two crates, {first} and {second}; link only one of them")]
    DuplicateScheme {
        /// The scheme.
        scheme: String,
        /// One crate.
        first: &'static str,
        /// The other crate.
        second: &'static str,
    },
    /// The label is not valid.
    #[error("bad label {label:?}: {reason}")]
    BadLabel {
        /// The label.
        label: String,
        /// The mistake, and the correct form.
        reason: String,
    },
    /// The store does not exist.
    #[error("there is no such store; create it first")]
    Absent,
    /// The store already exists.
    #[error("the store already exists; open it, or destroy it first")]
    Exists,
    /// The file is not a store.
    #[error("the file is not a lock store: {reason}; use another path")]
    NotAStore {
        /// The difference to a store.
        reason: String,
    },
    /// The store has another version of the format.
    #[error(
        "the store has format version {found}, this program supports version {known}; use the program that created it, or remove {} when \
         no program uses it, and create it again",
        file.display()
    )]
    OtherVersion {
        /// The store's version.
        found: u32,
        /// The version that this program supports.
        known: u32,
        /// The file to remove. This program cannot destroy the store.
        file: PathBuf,
    },
    /// The store belongs to another backend, or to a program with another ABI.
    #[error("the store is of the backend {found}, not {needed}; use the scheme or the program that created it")]
    OtherAbi {
        /// The backend and the ABI of the store.
        found: String,
        /// The backend and the ABI of this program.
        needed: String,
    },
    /// The store has another capacity than the requested one.
    #[error("the capacity of the store is {found}, not {asked}; omit the option capacity or give that number")]
    OtherCapacity {
        /// The capacity of the store: a number or `unbounded`.
        found: String,
        /// The requested capacity: a number or `unbounded`.
        asked: String,
    },
    /// The store is damaged.
    #[error("the store is corrupt: {reason}; remove it when no program uses it, and create it again")]
    Corrupt {
        /// The damage.
        reason: String,
    },
    /// The store is not safe to use because of its owner, its mode, a symbolic link or a hard link.
    #[error("the store is not safe to use: {reason}")]
    NotOurs {
        /// The reason, and what to do.
        reason: String,
    },
    /// The store was destroyed while it was open.
    #[error("the store was destroyed while it was open; open it again")]
    Destroyed,
    /// While the store was open, another store got its name. Opening the URL now opens the other store.
    #[error("the store was replaced by another one with the same name; open it again")]
    Replaced,
    /// Every entry of the process table is in use.
    #[error("{limit} processes have the store open, which is the limit; close it in one of them")]
    TooManyProcesses {
        /// The maximum number of processes.
        limit: u32,
    },
    /// No id is free.
    #[error("all {capacity} locks are allocated ({allocated} in use); free some, or create a store with a greater capacity")]
    Exhausted {
        /// The capacity of the store.
        capacity: u64,
        /// The number of allocated ids.
        allocated: u64,
    },
    /// The id is beyond the capacity.
    #[error("the id is out of range: the store has {capacity} locks, numbered from 0; use a lower id")]
    OutOfRange {
        /// The capacity of the store.
        capacity: u64,
    },
    /// The id is already allocated.
    #[error("the id is already allocated; use another one, or free it first")]
    AlreadyAllocated,
    /// The id is not allocated.
    #[error("the id is not allocated; allocate it first")]
    NotAllocated,
    /// The id was freed and allocated again since the handle was created.
    #[error("the handle is stale: its id was freed and allocated again; retrieve the lock again")]
    Stale,
    /// The deadline passed.
    #[error("timed out; {}", match holder { Some(holder) => format!("held by {holder}"), None => "the holder is unknown".to_owned() })]
    TimedOut {
        /// The holder at the deadline, where the backend knows it.
        holder: Option<Holder>,
    },
    /// The calling thread already holds the lock.
    #[error("this thread already holds the lock; release it first")]
    AlreadyHeld,
    /// The caller does not hold the lock, for example because its process inherited the guard by a fork.
    #[error("this process does not hold the lock; release it in the process that acquired it")]
    NotHeld,
    /// The guard still exists, and its thread no longer holds the lock: the lock was broken, or another owner took it over.
    #[error("the lock was lost, and another owner may have changed the protected data; check the data")]
    Lost,
    /// The backend does not support the operation.
    #[error("the backend does not support this: {reason}")]
    Unsupported {
        /// The reason.
        reason: String,
    },
    /// A system limit was reached.
    #[error("a system limit was reached: {limit}")]
    Limit {
        /// The limit, and how to raise it.
        limit: String,
        /// The error of the system call.
        #[source]
        source: io::Error,
    },
    /// A system call failed.
    #[error("{call}: {source}")]
    System {
        /// The name of the call.
        call: &'static str,
        /// The error of the call.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns the kind of the error, without the context.
    pub fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the operation in which the error occurred, if it is set.
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// Returns the URL of the store, if it is set.
    pub fn store(&self) -> Option<&str> {
        self.0.store.as_deref()
    }

    /// Returns the id of the lock, if it is set.
    pub fn id(&self) -> Option<LockId> {
        self.0.id
    }

    /// Returns the file or directory of the failed system call, if it is set.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Creates the error of a system call from the current value of `errno`, as [`Error::system`] does.
    pub fn last_os_error(call: &'static str) -> Self {
        Self::system(call, io::Error::last_os_error())
    }

    /// Creates the error of a system call, as [`Error::system`] does.
    pub fn refused(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::system(call, source)
    }

    /// Creates the error of a system call.
    ///
    /// The kind is [`ErrorKind::Limit`] for the error codes of known limits, otherwise [`ErrorKind::System`].
    pub fn system(call: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let limit = match source.raw_os_error() {
            Some(libc::EMFILE) => "too many open files in this process; raise RLIMIT_NOFILE (`ulimit -n`)",
            Some(libc::ENFILE) => "too many open files in the system; raise fs.file-max",
            Some(libc::ENOSPC) => "no space is left on the file system of the store; remove files or enlarge it",
            Some(libc::EDQUOT) => "the quota on the file system of the store is exhausted; remove files or raise the quota",
            Some(libc::ENOMEM) => "no memory is left for this process; raise RLIMIT_AS (`ulimit -v`), or free memory",
            Some(libc::EFBIG) => "a file would exceed the maximum size; raise RLIMIT_FSIZE (`ulimit -f`)",
            Some(libc::ENOLCK) => "the kernel has no memory for a file lock, or the file system has no locks",
            _ => return ErrorKind::System { call, source }.into(),
        };
        ErrorKind::Limit { limit: limit.to_owned(), source }.into()
    }

    /// Creates an [`ErrorKind::Unsupported`].
    pub fn unsupported(reason: impl Into<String>) -> Self {
        ErrorKind::Unsupported { reason: reason.into() }.into()
    }

    /// Sets the file, unless it is already set.
    ///
    /// The message then names the file and contains advice that follows from the present state of the file system.
    #[must_use]
    pub fn at(mut self, file: &Path) -> Self {
        if self.0.file.is_some() {
            return self;
        }
        self.0.file = Some(file.to_owned());
        match &mut self.0.kind {
            ErrorKind::Absent if self.0.advice.is_none() => self.0.advice = advice::for_absent_store(file),
            ErrorKind::System { source, .. } => self.0.advice = advice::for_system_error(source, file),
            ErrorKind::Limit { limit, source } => {
                if let Some(full) = advice::for_full_file_system(source, file) {
                    *limit = full;
                }
            }
            _ => {}
        }
        self
    }

    /// Sets the advice at the end of the message.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Sets the lock, unless it is already set.
    #[must_use]
    pub fn on(mut self, id: LockId) -> Self {
        self.0.id.get_or_insert(id);
        self
    }

    /// Sets the operation, the store and the lock, each unless it is already set.
    #[must_use]
    pub fn in_context(mut self, operation: Operation, store: &str, id: Option<LockId>) -> Self {
        self.0.operation.get_or_insert(operation);
        self.0.store.get_or_insert_with(|| store.to_owned());
        if self.0.id.is_none() {
            self.0.id = id;
        }
        self
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, operation: None, store: None, id: None, file: None, advice: None }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}")?;
            if let Some(id) = self.0.id {
                write!(f, " {id}")?;
            }
            if let Some(store) = &self.0.store {
                write!(f, " of {store}")?;
            }
            f.write_str(": ")?;
        }
        match (&self.0.kind, &self.0.file, &self.0.advice) {
            (ErrorKind::Absent, _, Some(advice)) => return write!(f, "there is no such store: {advice}"),
            (ErrorKind::System { call, source }, Some(file), _) => write!(f, "{call} {}: {source}", file.display())?,
            (kind, ..) => fmt::Display::fmt(kind, f)?,
        }
        self.0.advice.as_ref().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("store", &self.0.store)
            .field("id", &self.0.id)
            .field("file", &self.0.file)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}
