mod kind;
mod operation;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use self::kind::ErrorKind;
pub use self::operation::Operation;
use crate::{LockId, advice};

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
