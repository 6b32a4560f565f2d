mod constructors;
mod details;
mod kind;
mod operation;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use self::details::ErrorDetails;
pub use self::kind::ErrorKind;
pub use self::operation::Operation;
use crate::{Deadlock, Holder, LockId, advice};

/// A [`Result`](std::result::Result) with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an operation, with the operation, the store, the lock and the file.
///
/// It is displayed as one line: `OPERATION ID of STORE: CAUSE; ADVICE`. The line contains the text of a failed system call, so
/// [`source`](std::error::Error::source) does not return that error again; [`Error::io_error`] does.
///
/// # Examples
/// ```
/// use lock_core::{Error, ErrorDetails, ErrorKind};
///
/// let error = Error::exhausted(2048, 2048);
/// assert_eq!(error.kind(), ErrorKind::Exhausted);
/// assert!(matches!(error.details(), ErrorDetails::Exhausted { capacity: 2048, .. }));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    details: ErrorDetails,
    operation: Option<Operation>,
    store: Option<String>,
    id: Option<LockId>,
    file: Option<PathBuf>,
    /// Advice that the message of the kind does not contain.
    advice: Option<String>,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        (&self.0.details).into()
    }

    /// Returns the kind with its data.
    pub fn details(&self) -> &ErrorDetails {
        &self.0.details
    }

    /// Returns the kind with its data, without the context.
    pub fn into_details(self) -> ErrorDetails {
        self.0.details
    }

    /// Returns true if the store does not exist: [`ErrorKind::Absent`].
    pub fn is_absent(&self) -> bool {
        self.kind() == ErrorKind::Absent
    }

    /// Returns true if the store already exists: [`ErrorKind::Exists`].
    pub fn already_exists(&self) -> bool {
        self.kind() == ErrorKind::Exists
    }

    /// Returns true if the open store is no longer the one with its name: [`ErrorKind::Destroyed`] or [`ErrorKind::Replaced`].
    ///
    /// The program then opens the store again.
    pub fn needs_reopen(&self) -> bool {
        matches!(self.kind(), ErrorKind::Destroyed | ErrorKind::Replaced)
    }

    /// Returns true if no id is free: [`ErrorKind::Exhausted`].
    pub fn is_exhausted(&self) -> bool {
        self.kind() == ErrorKind::Exhausted
    }

    /// Returns true if a wait was cancelled: [`ErrorKind::Cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }

    /// Returns true if the deadline of an acquisition passed: [`ErrorKind::TimedOut`].
    pub fn is_timed_out(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// Returns true if the wait closed a cycle and its options refuse that: [`ErrorKind::Deadlock`].
    pub fn is_deadlock(&self) -> bool {
        self.kind() == ErrorKind::Deadlock
    }

    /// Returns true if the calling thread already holds the lock: [`ErrorKind::AlreadyHeld`].
    pub fn is_already_held(&self) -> bool {
        self.kind() == ErrorKind::AlreadyHeld
    }

    /// Returns true if the caller no longer holds the lock: [`ErrorKind::Lost`].
    pub fn is_lost(&self) -> bool {
        self.kind() == ErrorKind::Lost
    }

    /// Returns true if the backend does not support the operation: [`ErrorKind::Unsupported`].
    pub fn is_unsupported(&self) -> bool {
        self.kind() == ErrorKind::Unsupported
    }

    /// Returns the holder of the lock after a wait that timed out, if the backend can name it.
    pub fn holder(&self) -> Option<&Holder> {
        match self.details() {
            ErrorDetails::TimedOut { held_by, .. } | ErrorDetails::Cancelled { held_by, .. } => held_by.holder(),
            _ => None,
        }
    }

    /// Returns the cycle of threads that wait for each other, for [`ErrorKind::Deadlock`].
    pub fn deadlock_cycle(&self) -> Option<&Deadlock> {
        match self.details() {
            ErrorDetails::Deadlock { cycle, .. } => Some(cycle),
            _ => None,
        }
    }

    /// Returns the error of the failed system call, for [`ErrorKind::System`] and [`ErrorKind::Limit`].
    pub fn io_error(&self) -> Option<&io::Error> {
        match self.details() {
            ErrorDetails::Limit { error, .. } | ErrorDetails::System { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Returns the error number of the failed system call, as [`io::Error::raw_os_error`] does.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.io_error()?.raw_os_error()
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

    /// Sets the file, unless it is already set.
    ///
    /// The message then names the file and contains advice that follows from the present state of the file system.
    #[must_use]
    pub fn at(mut self, file: &Path) -> Self {
        if self.0.file.is_some() {
            return self;
        }
        self.0.file = Some(file.to_owned());
        match &mut self.0.details {
            ErrorDetails::Absent if self.0.advice.is_none() => self.0.advice = advice::for_absent_store(file),
            ErrorDetails::System { error, .. } => self.0.advice = advice::for_system_error(error, file),
            ErrorDetails::Limit { limit, error } => {
                if let Some(full) = advice::for_full_file_system(error, file) {
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

impl From<ErrorDetails> for Error {
    fn from(details: ErrorDetails) -> Self {
        Self(Box::new(Inner { details, operation: None, store: None, id: None, file: None, advice: None }))
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
        match (&self.0.details, &self.0.file, &self.0.advice) {
            (ErrorDetails::Absent, _, Some(advice)) => return write!(f, "there is no such store: {advice}"),
            (ErrorDetails::OtherCapacity { found, asked }, _, Some(advice)) => {
                return write!(f, "the capacity of the store is {found}, not {asked}; {advice}");
            }
            (ErrorDetails::System { call, error }, Some(file), _) => write!(f, "{call} {}: {error}", file.display())?,
            (details, ..) => fmt::Display::fmt(details, f)?,
        }
        self.0.advice.as_ref().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("details", &self.0.details)
            .field("operation", &self.0.operation)
            .field("store", &self.0.store)
            .field("id", &self.0.id)
            .field("file", &self.0.file)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.details)
    }
}

/// The kind is the nearest one of [`io::ErrorKind`]. The [`Error`] can be got back with [`io::Error::downcast`].
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error.io_error().map_or_else(|| error.kind().into(), io::Error::kind);
        Self::new(kind, error)
    }
}
