//! Stores of process-shared locks, opened by URL: the crate that most programs use.
//!
//! A cargo feature links a backend, and the scheme of a URL picks one of those that are linked:
//!
//! | feature | schemes | what it is |
//! |---|---|---|
//! | `shm` (default) | `shm:` | futex locks in a shared segment |
//! | `file` | `file:`, `lxc:` | open-file-description locks on files |
//! | `sem` | `sem:`, `posix-sem:` | System V and POSIX semaphores |
//! | `podman` | `podman:` | podman's own segment |
//!
//! Backends of other crates need no feature: a crate that registers one with [`register!`] is found as soon as the program names
//! that crate (`use their_backend as _;`). What is not linked is named in the error, together with the feature that links it.
//!
//! # Examples
#![cfg_attr(feature = "shm", doc = "```")]
#![cfg_attr(not(feature = "shm"), doc = "```ignore")]
//! # let dir = tempfile::tempdir().unwrap();
//! # let url = format!("shm:{}/locks", dir.path().display());
//! // For example "shm:my-engine" or "shm:/run/my-engine/locks".
//! let store = lock_any::open_or_create(&url)?;
//!
//! // A number that goes into the engine's database; another process gets the same lock by `store.retrieve(id)`.
//! let lock = store.allocate("container web")?;
//! let id = lock.id().unwrap();
//!
//! let mut guard = store.retrieve(id)?.lock_owned()?;
//! if let Some(death) = guard.recovered() {
//!     // Each owner gets this report until one has repaired what the lock protects, and says so.
//!     eprintln!("{death}: repairing what it left");
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
    Allocation, Backend, Breaking, Capabilities, Capacity, Cause, Deadline, Deadlines, Death, DeathReports, Error, ErrorKind,
    Generation, Generations, Guard, HeldLock, Holder, Holders, Label, Labels, Lock, LockId, Numbering, OpenMode, Operation,
    OwnerDeath, Persistence, Reconcile, Reconciled, Reentry, Registry, Removal, Result, Sharing, Store, StoreId, StoreUrl,
    ThreadDeath, Tokens, Waiters, lock_all, register,
};

/// Opens a store that exists.
///
/// # Errors
/// [`ErrorKind::BadUrl`], [`ErrorKind::UnknownScheme`], [`ErrorKind::Absent`], and those of a store that is refused: it is not
/// one, of another version, ABI or capacity, corrupt, or not safe to use.
pub fn open(url: &str) -> Result<Store> {
    open_with(url, OpenMode::Open)
}

/// Creates a store that does not exist.
///
/// # Errors
/// [`ErrorKind::Exists`]; otherwise as [`open`], and what the system says.
pub fn create(url: &str) -> Result<Store> {
    open_with(url, OpenMode::Create)
}

/// Opens a store, and creates it first where it is absent. Of several callers at once, one creates it and all open that very one.
///
/// # Errors
/// As [`open`], but for [`ErrorKind::Absent`]; what the system says.
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

/// The backends that are linked into this program, by scheme.
///
/// # Errors
/// [`ErrorKind::DuplicateScheme`].
pub fn backends() -> Result<Vec<Backend>> {
    Ok(registry()?.backends().copied().collect())
}

/// The registry of this program: what its crates have registered, and the built-in backends of the features that are on. Those
/// stand in a table of their own, as a static library loses registrations.
///
/// # Errors
/// [`ErrorKind::DuplicateScheme`] when two crates claim one scheme.
pub fn registry() -> Result<Registry> {
    Ok(Registry::linked()?.merge(builtin::LINKED.iter().copied())?.knowing(builtin::absent()))
}
