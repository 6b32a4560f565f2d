use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::time::Duration;

use crate::{Deadlock, HeldBy};

/// The details of an [`Error`](crate::Error): its kind with the data of that kind.
///
/// [`ErrorKind`](crate::ErrorKind) has the same variants without data. For messages, display the [`Error`](crate::Error), which has
/// the context. Variants can get more fields, so patterns end with `..`. [`Error`](crate::Error) has a constructor for each variant.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum ErrorDetails {
    /// The URL of a store is not valid.
    #[error("bad store URL {url:?}: {reason}")]
    #[non_exhaustive]
    BadUrl {
        /// The URL.
        url: String,
        /// The mistake, and the correct form.
        reason: String,
    },
    /// No linked backend has the scheme.
    #[error("no backend for the scheme {scheme:?} is linked into this program; {hint}")]
    #[non_exhaustive]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// The linked schemes, and the feature that adds this one.
        hint: String,
    },
    /// Two crates register the same scheme.
    #[error("the scheme {scheme:?} is claimed by two crates, {first} and {second}; link only one of them")]
    #[non_exhaustive]
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
    #[non_exhaustive]
    BadLabel {
        /// The label.
        label: String,
        /// The mistake, and the correct form.
        reason: String,
    },
    /// The store does not exist.
    #[error("there is no such store; create it first")]
    #[non_exhaustive]
    Absent,
    /// The store already exists.
    #[error("the store already exists; open it, or destroy it first")]
    #[non_exhaustive]
    Exists,
    /// The file is not a store.
    #[error("the file is not a lock store: {reason}; use another path")]
    #[non_exhaustive]
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
    #[non_exhaustive]
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
    #[non_exhaustive]
    OtherAbi {
        /// The backend and the ABI of the store.
        found: String,
        /// The backend and the ABI of this program.
        needed: String,
    },
    /// The store has another capacity than the requested one.
    #[error("the capacity of the store is {found}, not {asked}; omit the option capacity or give that number")]
    #[non_exhaustive]
    OtherCapacity {
        /// The capacity of the store: a number or `unbounded`.
        found: String,
        /// The requested capacity: a number or `unbounded`.
        asked: String,
    },
    /// The store is damaged.
    #[error("the store is corrupt: {reason}; remove it when no program uses it, and create it again")]
    #[non_exhaustive]
    Corrupt {
        /// The damage.
        reason: String,
    },
    /// The store is not safe to use because of its owner, its mode, a symbolic link or a hard link.
    #[error("the store is not safe to use: {reason}")]
    #[non_exhaustive]
    Untrusted {
        /// The reason, and what to do.
        reason: String,
    },
    /// The store was destroyed while it was open.
    #[error("the store was destroyed while it was open; open it again")]
    #[non_exhaustive]
    Destroyed,
    /// While the store was open, another store got its name. Opening the URL now opens the other store.
    #[error("the store was replaced by another one with the same name; open it again")]
    #[non_exhaustive]
    Replaced,
    /// Every entry of the process table is in use.
    #[error("{limit} processes have the store open, which is the limit; close it in one of them")]
    #[non_exhaustive]
    TooManyProcesses {
        /// The maximum number of processes.
        limit: u32,
    },
    /// No id is free.
    #[error(
        "all {capacity} locks are allocated ({allocated} in use); free some, or raise the capacity (Store::grow, `lockctl grow`)"
    )]
    #[non_exhaustive]
    Exhausted {
        /// The capacity of the store.
        capacity: u64,
        /// The number of allocated ids.
        allocated: u64,
    },
    /// The id is beyond the capacity.
    #[error("the id is out of range: the store has {capacity} locks, numbered from 0; use a lower id")]
    #[non_exhaustive]
    OutOfRange {
        /// The capacity of the store.
        capacity: u64,
    },
    /// The id is already allocated.
    #[error("the id is already allocated; use another one, or free it first")]
    #[non_exhaustive]
    AlreadyAllocated,
    /// The id is not allocated.
    #[error("the id is not allocated; allocate it first")]
    #[non_exhaustive]
    NotAllocated,
    /// The id was freed and allocated again since the handle was created.
    #[error("the handle is stale: its id was freed and allocated again; retrieve the lock again")]
    #[non_exhaustive]
    Stale,
    /// The deadline passed.
    #[error("timed out{}; {held_by}", after(*waited))]
    #[non_exhaustive]
    TimedOut {
        /// The time from the start of the wait to the error; zero for an attempt without a wait.
        waited: Duration,
        /// The holder after the wait.
        held_by: HeldBy,
    },
    /// The wait was cancelled.
    #[error("cancelled{}; {held_by}", after(*waited))]
    #[non_exhaustive]
    Cancelled {
        /// The time from the start of the wait to the error.
        waited: Duration,
        /// The holder after the wait.
        held_by: HeldBy,
    },
    /// The wait closed a cycle of threads that wait for each other, and its options refuse that.
    #[error("deadlock{}: {cycle}; release the locks that this thread holds, and try again after a pause", after(*waited))]
    #[non_exhaustive]
    Deadlock {
        /// The time from the start of the wait to the error.
        waited: Duration,
        /// The cycle. The first step is that of the calling thread.
        cycle: Deadlock,
    },
    /// The calling thread already holds the lock.
    #[error("this thread already holds the lock; release it first")]
    #[non_exhaustive]
    AlreadyHeld,
    /// The caller does not hold the lock, for example because its process inherited the guard by a fork.
    #[error("this process does not hold the lock; release it in the process that acquired it")]
    #[non_exhaustive]
    NotHeld,
    /// The guard still exists, and its thread no longer holds the lock: the lock was broken, or another owner took it over.
    #[error("the lock was lost, and another owner may have changed the protected data; check the data")]
    #[non_exhaustive]
    Lost,
    /// A server gives no answer. The operation may have been executed or not.
    #[error("{server} cannot be reached: {reason}; check its address, and that it runs")]
    #[non_exhaustive]
    Unreachable {
        /// The server, with its address.
        server: String,
        /// The reason.
        reason: String,
    },
    /// A server refuses the user, or what the user asks for.
    #[error("{server} denies access: {reason}")]
    #[non_exhaustive]
    Denied {
        /// The server, with its address.
        server: String,
        /// The reason, and what to do.
        reason: String,
    },
    /// The backend does not support the operation.
    #[error("the backend does not support this: {reason}")]
    #[non_exhaustive]
    Unsupported {
        /// The reason.
        reason: String,
    },
    /// A system limit was reached.
    #[error("a system limit was reached: {limit}")]
    #[non_exhaustive]
    Limit {
        /// The limit, and how to raise it.
        limit: String,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
    /// A system call failed.
    #[error("{call}: {error}")]
    #[non_exhaustive]
    System {
        /// The name of the call.
        call: &'static str,
        /// The error of the call. The message contains its text, so it is not the source of the error.
        error: io::Error,
    },
}

// `io::Error` is neither only because it may contain any error type. Nothing changes the details after their creation, so a panic
// cannot leave them half changed.
impl UnwindSafe for ErrorDetails {}
impl RefUnwindSafe for ErrorDetails {}

/// Formats the duration of a wait in whole milliseconds, or more precisely if it is shorter than one.
fn after(waited: Duration) -> String {
    let rounded = match waited.as_micros() {
        0 => return String::new(),
        micros @ 1..1000 => Duration::from_micros(micros as u64),
        micros => Duration::from_millis(u64::try_from((micros + 500) / 1000).unwrap_or(u64::MAX)),
    };
    format!(" after {rounded:?}")
}
