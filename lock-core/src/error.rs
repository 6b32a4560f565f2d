use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Holder, LockId, advice};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in which operation, on which lock of which store.
///
/// It prints as one line that says what was wrong and, where there is something to do about it, what.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Option<Operation>,
    store: Option<String>,
    id: Option<LockId>,
    file: Option<PathBuf>,
    /// What to do, where the kind does not say it.
    advice: Option<String>,
}

/// What was being done when an [`Error`] came up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a store that exists.
    Open,
    /// Creating a store.
    Create,
    /// Opening a store, or creating it where it is absent.
    OpenOrCreate,
    /// Removing a store.
    Destroy,
    /// Looking whether a store is still the one of its name.
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
    /// Making the set of allocated ids what the caller says.
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

/// The kinds of failure. Match on these; print the [`Error`].
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A store URL that cannot be understood.
    #[error("bad store URL {url:?}: {reason}")]
    BadUrl {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No linked backend serves the scheme.
    #[error("no backend for the scheme {scheme:?} is linked into this program; {hint}")]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// Which schemes there are, and the feature that would add this one.
        hint: String,
    },
    /// Two backends of different crates claim one scheme.
    #[error("the scheme {scheme:?} is claimed by two crates, {first} and {second}; link only one of them")]
    DuplicateScheme {
        /// The scheme.
        scheme: String,
        /// One crate.
        first: &'static str,
        /// The other crate.
        second: &'static str,
    },
    /// A label that cannot be kept.
    #[error("bad label {label:?}: {reason}")]
    BadLabel {
        /// The label.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such store.
    #[error("there is no such store; create it first")]
    Absent,
    /// A store of that name exists.
    #[error("it exists already; open it, or destroy it first")]
    Exists,
    /// The file is not a store.
    #[error("it is not a lock store ({reason}); nothing was changed, use another path")]
    NotAStore {
        /// How one can tell.
        reason: String,
    },
    /// The store was made by another version of the format.
    #[error(
        "its format is version {found}, this program knows {known}; use the program that made it, or, when nobody uses it any more, \
         remove {} and create it anew",
        file.display()
    )]
    OtherVersion {
        /// The store's version.
        found: u32,
        /// The version that this program knows.
        known: u32,
        /// What to remove: no program of this version can destroy it.
        file: PathBuf,
    },
    /// The store was made by a program of another ABI, or by another backend.
    #[error("it was made for {found}, this program needs {needed}; use the scheme or the program that made it")]
    OtherAbi {
        /// What the store was made for.
        found: String,
        /// What this program needs.
        needed: String,
    },
    /// The store has another capacity than the one asked for.
    #[error("its capacity is {found}, not {asked}; open it without a capacity or with its own")]
    OtherCapacity {
        /// The store's capacity, in words.
        found: String,
        /// The capacity that was asked for, in words.
        asked: String,
    },
    /// The store is damaged.
    #[error("it is corrupt: {reason}; nothing was changed, create it again when no program uses it")]
    Corrupt {
        /// What is wrong.
        reason: String,
    },
    /// The store is not safe to use: owner, mode, symbolic link, hard link.
    #[error("it is not safe to use: {reason}")]
    NotOurs {
        /// What is wrong.
        reason: String,
    },
    /// The store was destroyed while it was open.
    #[error("the store was destroyed while it was open; open it again")]
    Destroyed,
    /// The store's name was given to another one while it was open, and who opens it by that name now gets the other.
    #[error("the store was replaced by another one with the same name; open it again")]
    Replaced,
    /// Every entry for a process is taken.
    #[error("{limit} processes have it open, which is as many as it can name; close some")]
    TooManyProcesses {
        /// How many there can be.
        limit: u32,
    },
    /// No id is free.
    #[error("all {capacity} locks are allocated ({allocated} in use); free some, or create a store with a greater capacity")]
    Exhausted {
        /// How many there can be.
        capacity: u64,
        /// How many are allocated.
        allocated: u64,
    },
    /// The id is beyond the capacity.
    #[error("the id is out of range: the store has {capacity} locks, numbered from 0; use a lower id")]
    OutOfRange {
        /// How many there are.
        capacity: u64,
    },
    /// The id is allocated already.
    #[error("the id is allocated already; use another one, or free it first")]
    AlreadyAllocated,
    /// The id is not allocated.
    #[error("the id is not allocated; allocate it first")]
    NotAllocated,
    /// The id was freed and handed to somebody else since the handle was made.
    #[error("the handle is stale: its id was freed and allocated again; retrieve the lock again")]
    Stale,
    /// The deadline passed.
    #[error("timed out; {}", match holder { Some(holder) => format!("held by {holder}"), None => "the holder is not known".to_owned() })]
    TimedOut {
        /// Who held the lock at the deadline, where the backend knows.
        holder: Option<Holder>,
    },
    /// The calling thread holds the lock already.
    #[error("this thread already holds the lock; release it first")]
    AlreadyHeld,
    /// The caller does not hold the lock (or its process inherited the guard by a fork).
    #[error("this process does not hold the lock; release it in the process that acquired it")]
    NotHeld,
    /// The lock is not the caller's any more, although its guard was not dropped: it was broken, or taken over after what keeps it was
    /// lost. What it protects may have been changed by others since.
    #[error("the lock was lost: another owner may have held it meanwhile; check what it protects")]
    Lost,
    /// The backend cannot do that.
    #[error("the backend cannot do that: {reason}")]
    Unsupported {
        /// What it cannot do.
        reason: String,
    },
    /// A limit of the system was met.
    #[error("a limit of the system was met: {limit}")]
    Limit {
        /// Which limit, and how to raise it.
        limit: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused.
    #[error("{call}: {source}")]
    System {
        /// The call that failed.
        call: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What went wrong, without the rest.
    pub fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// The URL of the store.
    pub fn store(&self) -> Option<&str> {
        self.0.store.as_deref()
    }

    /// The lock.
    pub fn id(&self) -> Option<LockId> {
        self.0.id
    }

    /// The file or directory that the system refused, where the error is about one.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// A failed system call, with `errno` as it stands.
    pub fn last_os_error(call: &'static str) -> Self {
        Self::system(call, io::Error::last_os_error())
    }

    /// A failed system call; where a limit was met, [`ErrorKind::Limit`] says which and how to raise it.
    pub fn refused(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::system(call, source)
    }

    /// A failed system call; where a limit was met, [`ErrorKind::Limit`] says which and how to raise it.
    pub fn system(call: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let limit = match source.raw_os_error() {
            Some(libc::EMFILE) => "too many open files in this process; raise RLIMIT_NOFILE (`ulimit -n`)",
            Some(libc::ENFILE) => "too many open files in the system; raise fs.file-max",
            Some(libc::ENOSPC) => "no space is left on the store's file system; free some, or give it more",
            Some(libc::EDQUOT) => "the quota on the store's file system is used up; free some, or have it raised",
            Some(libc::ENOMEM) => {
                "the system gives this process no more memory; look at RLIMIT_AS (`ulimit -v`) and at what is free"
            }
            Some(libc::EFBIG) => "a file of this process may not be as large; raise RLIMIT_FSIZE (`ulimit -f`)",
            Some(libc::ENOLCK) => "the kernel has no room for another file lock (or the file system has no locks)",
            _ => return ErrorKind::System { call, source }.into(),
        };
        ErrorKind::Limit { limit: limit.to_owned(), source }.into()
    }

    /// Something that a backend cannot do.
    pub fn unsupported(reason: impl Into<String>) -> Self {
        ErrorKind::Unsupported { reason: reason.into() }.into()
    }

    /// The same error, about this file: the message names it and says what to do, as far as the file system shows that at this
    /// moment. A file that is set already stays.
    #[must_use]
    pub fn at(mut self, file: &Path) -> Self {
        if self.0.file.is_some() {
            return self;
        }
        self.0.file = Some(file.to_owned());
        match &mut self.0.kind {
            ErrorKind::Absent if self.0.advice.is_none() => self.0.advice = advice::on_absent(file),
            ErrorKind::System { source, .. } => self.0.advice = advice::on_file(source, file),
            ErrorKind::Limit { limit, source } => {
                if let Some(room) = advice::on_room(source, file) {
                    *limit = room;
                }
            }
            _ => {}
        }
        self
    }

    /// The same error with what to do about it, which its message ends with.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// The same error, on this lock, unless it says already which.
    #[must_use]
    pub fn on(mut self, id: LockId) -> Self {
        self.0.id.get_or_insert(id);
        self
    }

    /// The same error, in this operation, on this store and lock. What is set already stays.
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
