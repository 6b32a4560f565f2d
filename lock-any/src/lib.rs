//! Stores of process-shared locks, opened by URL: the crate that most programs use.
//!
//! A cargo feature links a backend, and the scheme of a URL selects a linked backend:
//!
//! | feature | schemes | backend |
//! |---|---|---|
//! | `shm` (default) | `shm:` | futex locks in a shared segment |
//! | `file` | `file:`, `lxc:` | open-file-description locks on files |
//! | `sem` | `sem:`, `posix-sem:` | System V and POSIX semaphores |
//!
//! The feature `tracing` (default) records recoveries, refusals, time-outs and failed releases as events of the crate `tracing`.
//!
//! Backends of other crates need no feature. A crate that registers one with [`register!`] is linked if the program names the crate
//! (`use their_backend as _;`). The error for an unlinked scheme names the feature that links it.
//!
//! # Examples
#![cfg_attr(feature = "shm", doc = "```")]
#![cfg_attr(not(feature = "shm"), doc = "```ignore")]
//! # let dir = tempfile::tempdir().unwrap();
//! # let url = format!("shm:{}/locks", dir.path().display());
//! // For example "shm:my-engine" or "shm:/run/my-engine/locks".
//! let store = lock_any::open_or_create(&url)?;
//!
//! // Store the number in a database. Another process gets the same lock by `store.retrieve(id)`.
//! let lock = store.allocate("container web")?;
//! let id = lock.id().unwrap();
//!
//! let mut guard = store.retrieve(id)?.lock_owned()?;
//! if let Some(death) = guard.recovered() {
//!     // Each owner gets this report until one has repaired the protected data and calls `mark_consistent`.
//!     eprintln!("{death}: repairing the data");
//!     guard.mark_consistent()?;
//! }
//! drop(guard);
//!
//! lock.free()?;
//! # store.destroy()?;
//! # Ok::<(), lock_any::Error>(())
//! ```
#![forbid(unsafe_code)]

mod builtin;

pub use lock_core::{
    Allocation, Backend, Breaking, Capabilities, Capacity, Cause, Deadline, Deadlines, Death, DeathReports, Error, ErrorDetails,
    ErrorKind, Generation, Generations, Guard, HeldBy, HeldLock, Holder, Holders, Label, Labels, Lock, LockId, Numbering,
    OpenMode, Operation, OwnerDeath, Persistence, Reconcile, Reconciled, Reentry, Registry, Removal, Result, Sharing, Store,
    StoreId, StoreUrl, ThreadDeath, Tokens, Waiters, lock_all, register,
};

/// Opens an existing store.
///
/// # Errors
/// [`ErrorKind::BadUrl`], [`ErrorKind::UnknownScheme`], [`ErrorKind::DuplicateScheme`]; [`ErrorKind::Absent`]. For a file that is not
/// a usable store: [`ErrorKind::NotAStore`], [`ErrorKind::OtherVersion`], [`ErrorKind::OtherAbi`], [`ErrorKind::OtherCapacity`],
/// [`ErrorKind::Corrupt`], [`ErrorKind::Untrusted`], [`ErrorKind::Destroyed`], [`ErrorKind::Unsupported`]. Also
/// [`ErrorKind::TooManyProcesses`], [`ErrorKind::Limit`] and [`ErrorKind::System`].
pub fn open(url: &str) -> Result<Store> {
    open_with(url, OpenMode::Open)
}

/// Creates a store.
///
/// # Errors
/// [`ErrorKind::Exists`]; otherwise as [`open`].
pub fn create(url: &str) -> Result<Store> {
    open_with(url, OpenMode::Create)
}

/// Opens a store, and creates it if it is absent. Of several concurrent callers, one creates the store and all others open it.
///
/// # Errors
/// As [`open`], without [`ErrorKind::Absent`].
pub fn open_or_create(url: &str) -> Result<Store> {
    open_with(url, OpenMode::OpenOrCreate)
}

/// Opens a store in the given mode.
///
/// # Errors
/// As the function for that mode.
pub fn open_with(url: &str, mode: OpenMode) -> Result<Store> {
    Store::open(&registry()?, url, mode)
}

/// Returns the linked backends, ordered by scheme.
///
/// # Errors
/// [`ErrorKind::DuplicateScheme`].
pub fn backends() -> Result<Vec<Backend>> {
    Ok(registry()?.backends().copied().collect())
}

/// Returns the registry of this program: the registered backends, and the built-in backends of the enabled features. The built-in
/// ones are in a separate table, because a static library loses registrations.
///
/// # Errors
/// [`ErrorKind::DuplicateScheme`] when two crates claim one scheme.
pub fn registry() -> Result<Registry> {
    Ok(Registry::linked()?.merge(builtin::LINKED.iter().copied())?.with_absent(builtin::absent()))
}
