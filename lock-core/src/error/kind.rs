use std::io;
use std::path::PathBuf;

use crate::Holder;

/// The kind of an [`Error`](crate::Error), for programs to match on.
///
/// For messages, display the [`Error`](crate::Error), which has the context.
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
    Untrusted {
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
