//! The constructors of [`Error`], one for each kind. Backends create their errors with them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Error, ErrorDetails};
use crate::{Deadlock, HeldBy};

/// Constructors, one for each [`ErrorKind`](crate::ErrorKind). For backends.
impl Error {
    /// Creates an [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl). The reason names the mistake and the correct form.
    pub fn bad_url(url: impl Into<String>, reason: impl Into<String>) -> Self {
        ErrorDetails::BadUrl { url: url.into(), reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::UnknownScheme`](crate::ErrorKind::UnknownScheme). The hint names the linked schemes.
    pub fn unknown_scheme(scheme: impl Into<String>, hint: impl Into<String>) -> Self {
        ErrorDetails::UnknownScheme { scheme: scheme.into(), hint: hint.into() }.into()
    }

    /// Creates an [`ErrorKind::DuplicateScheme`](crate::ErrorKind::DuplicateScheme) with the names of the two crates.
    pub fn duplicate_scheme(scheme: impl Into<String>, first: &'static str, second: &'static str) -> Self {
        ErrorDetails::DuplicateScheme { scheme: scheme.into(), first, second }.into()
    }

    /// Creates an [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel). The reason names the mistake and the correct form.
    pub fn bad_label(label: impl Into<String>, reason: impl Into<String>) -> Self {
        ErrorDetails::BadLabel { label: label.into(), reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::Absent`](crate::ErrorKind::Absent).
    pub fn absent() -> Self {
        ErrorDetails::Absent.into()
    }

    /// Creates an [`ErrorKind::Exists`](crate::ErrorKind::Exists).
    pub fn exists() -> Self {
        ErrorDetails::Exists.into()
    }

    /// Creates an [`ErrorKind::NotAStore`](crate::ErrorKind::NotAStore). The reason names the difference to a store.
    pub fn not_a_store(reason: impl Into<String>) -> Self {
        ErrorDetails::NotAStore { reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::OtherVersion`](crate::ErrorKind::OtherVersion). `file` is the file to remove.
    pub fn other_version(found: u32, known: u32, file: impl Into<PathBuf>) -> Self {
        ErrorDetails::OtherVersion { found, known, file: file.into() }.into()
    }

    /// Creates an [`ErrorKind::OtherAbi`](crate::ErrorKind::OtherAbi) with the backend and the ABI of the store and of this program.
    pub fn other_abi(found: impl Into<String>, needed: impl Into<String>) -> Self {
        ErrorDetails::OtherAbi { found: found.into(), needed: needed.into() }.into()
    }

    /// Creates an [`ErrorKind::OtherCapacity`](crate::ErrorKind::OtherCapacity). Each capacity is a number or `unbounded`.
    ///
    /// The advice is for a URL with another capacity. [`Error::advise`] replaces it.
    pub fn other_capacity(found: impl Into<String>, asked: impl Into<String>) -> Self {
        ErrorDetails::OtherCapacity { found: found.into(), asked: asked.into() }.into()
    }

    /// Creates an [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt). The reason names the damage.
    pub fn corrupt(reason: impl Into<String>) -> Self {
        ErrorDetails::Corrupt { reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::Untrusted`](crate::ErrorKind::Untrusted). The reason also says what to do.
    pub fn untrusted(reason: impl Into<String>) -> Self {
        ErrorDetails::Untrusted { reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::Destroyed`](crate::ErrorKind::Destroyed).
    pub fn destroyed() -> Self {
        ErrorDetails::Destroyed.into()
    }

    /// Creates an [`ErrorKind::Replaced`](crate::ErrorKind::Replaced).
    pub fn replaced() -> Self {
        ErrorDetails::Replaced.into()
    }

    /// Creates an [`ErrorKind::TooManyProcesses`](crate::ErrorKind::TooManyProcesses) with the maximum number of processes.
    pub fn too_many_processes(limit: u32) -> Self {
        ErrorDetails::TooManyProcesses { limit }.into()
    }

    /// Creates an [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted).
    pub fn exhausted(capacity: u64, allocated: u64) -> Self {
        ErrorDetails::Exhausted { capacity, allocated }.into()
    }

    /// Creates an [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange).
    pub fn out_of_range(capacity: u64) -> Self {
        ErrorDetails::OutOfRange { capacity }.into()
    }

    /// Creates an [`ErrorKind::AlreadyAllocated`](crate::ErrorKind::AlreadyAllocated).
    pub fn already_allocated() -> Self {
        ErrorDetails::AlreadyAllocated.into()
    }

    /// Creates an [`ErrorKind::NotAllocated`](crate::ErrorKind::NotAllocated).
    pub fn not_allocated() -> Self {
        ErrorDetails::NotAllocated.into()
    }

    /// Creates an [`ErrorKind::Stale`](crate::ErrorKind::Stale).
    pub fn stale() -> Self {
        ErrorDetails::Stale.into()
    }

    /// Creates an [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). [`Lock`](crate::Lock) does so for all backends.
    pub fn timed_out(waited: Duration, held_by: HeldBy) -> Self {
        ErrorDetails::TimedOut { waited, held_by }.into()
    }

    /// Creates an [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled). [`Lock`](crate::Lock) does so for all backends.
    pub fn cancelled(waited: Duration, held_by: HeldBy) -> Self {
        ErrorDetails::Cancelled { waited, held_by }.into()
    }

    /// Creates an [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock). [`Lock`](crate::Lock) does so for all backends.
    pub fn deadlock(waited: Duration, cycle: Deadlock) -> Self {
        ErrorDetails::Deadlock { waited, cycle }.into()
    }

    /// Creates an [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld).
    pub fn already_held() -> Self {
        ErrorDetails::AlreadyHeld.into()
    }

    /// Creates an [`ErrorKind::NotHeld`](crate::ErrorKind::NotHeld).
    pub fn not_held() -> Self {
        ErrorDetails::NotHeld.into()
    }

    /// Creates an [`ErrorKind::Lost`](crate::ErrorKind::Lost).
    pub fn lost() -> Self {
        ErrorDetails::Lost.into()
    }

    /// Creates an [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) with the server and the reason.
    pub fn unreachable(server: impl Into<String>, reason: impl Into<String>) -> Self {
        ErrorDetails::Unreachable { server: server.into(), reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::Denied`](crate::ErrorKind::Denied) with the server and the reason. The reason also says what to do.
    pub fn denied(server: impl Into<String>, reason: impl Into<String>) -> Self {
        ErrorDetails::Denied { server: server.into(), reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub fn unsupported(reason: impl Into<String>) -> Self {
        ErrorDetails::Unsupported { reason: reason.into() }.into()
    }

    /// Creates an [`ErrorKind::Limit`](crate::ErrorKind::Limit). The text names the limit and how to raise it.
    ///
    /// [`Error::system`] knows the common limits. This function is for calls whose error codes mean other limits.
    pub fn limit(limit: impl Into<String>, error: impl Into<io::Error>) -> Self {
        ErrorDetails::Limit { limit: limit.into(), error: error.into() }.into()
    }

    /// Creates the error of a system call.
    ///
    /// The kind is [`ErrorKind::Limit`](crate::ErrorKind::Limit) for the error codes of known limits, otherwise
    /// [`ErrorKind::System`](crate::ErrorKind::System). Add the file of the call with [`Error::at`].
    pub fn system(call: &'static str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let limit = match error.raw_os_error() {
            Some(libc::EMFILE) => "too many open files in this process; raise RLIMIT_NOFILE (`ulimit -n`)",
            Some(libc::ENFILE) => "too many open files in the system; raise fs.file-max",
            Some(libc::ENOSPC) => "no space is left on the file system of the store; remove files or enlarge it",
            Some(libc::EDQUOT) => "the quota on the file system of the store is exhausted; remove files or raise the quota",
            Some(libc::ENOMEM) => "no memory is left for this process; raise RLIMIT_AS (`ulimit -v`), or free memory",
            Some(libc::EFBIG) => "a file would exceed the maximum size; raise RLIMIT_FSIZE (`ulimit -f`)",
            Some(libc::ENOLCK) => "the kernel has no memory for a file lock, or the file system has no locks",
            _ => return ErrorDetails::System { call, error }.into(),
        };
        Self::limit(limit, error)
    }

    /// Creates the error of a system call from the current value of `errno`, as [`Error::system`] does.
    pub fn last_os_error(call: &'static str) -> Self {
        Self::system(call, io::Error::last_os_error())
    }
}
