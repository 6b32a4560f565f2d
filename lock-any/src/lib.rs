//! Stores of process-shared locks, opened by URL: the crate that most programs use.
//!
//! A cargo feature links a backend, and the scheme of a URL selects a linked backend:
//!
//! | feature | schemes | backend |
//! |---|---|---|
//! | `shm` (default) | `shm:` | futex locks in a shared segment |
//! | `file` | `file:`, `lxc:` | open-file-description locks on files |
//! | `sem` | `sem:`, `posix-sem:` | System V and POSIX semaphores |
//! | `podman` | `podman:`, `podman-file:` | the mutexes of podman's shared memory segment; podman's lock files, to list only |
//! | `etcd` | `etcd:` | leases, transactions and watches of etcd, between machines |
//! | `postgres` | `postgres:` | advisory locks and tables of PostgreSQL, between machines |
//!
//! The feature `tracing` (default) records long waits, recoveries, refusals, time-outs, failed releases and exhausted stores as events of the
//! crate `tracing`. The module [`events`] lists them.
//!
//! The feature `tls` adds TLS to `etcd` and `postgres`.
//!
//! The feature `tokio` adds `LockAsync`, by which async tasks wait for a lock.
//!
//! Backends of other crates need no feature. A crate that registers one with [`register!`] is linked if the program names the crate
//! (`use their_backend as _;`). The error for an unlinked scheme names the feature that links it.
//!
//! # URLs and paths
//! `shm:my-engine` is a store with a name, and `shm:/run/my-engine/locks` is a store at a path. A program that has a [`Path`] does not
//! format a URL, because a `?` or a `%` in the path would have a meaning there. It uses [`StoreUrl::builder`]. [`StoreOptions`] adds
//! options to a URL.
//!
//! [`Path`]: std::path::Path
//!
//! # Async
//! A [`Guard`] belongs to a thread, and a task may move between threads. So a task uses a [`SendGuard`], which belongs to the process and
//! may be held over an `.await`. With the feature `tokio`, a task waits for one by `lock.lock_async().await`:
//!
//! - A free lock needs no thread, and a dropped future never leaves the lock held. So `tokio::time::timeout` limits a wait.
//! - The waiting tasks of a process form a queue for each lock. Only the first one has a thread, which ends within 200 ms after its future
//!   is dropped. No thread of tokio's blocking pool is used.
//! - Dropping a guard does not block. Without tokio, [`Lock::lock_send_with`] on a thread of the program gives the same guard.
//!
//! These operations can block, so that a task calls them by `tokio::task::spawn_blocking`:
//!
//! - [`open`], [`create`] and [`open_or_create`], [`Store::open`]: files are created, mapped and checked; they wait for another creator.
//! - [`Store::destroy`], [`Store::break_lock`]: files and semaphore sets are removed.
//! - [`Store::allocate`] and the other allocations, [`Store::reconcile`]: a store that grows reserves blocks on its file system.
//! - [`Store::allocated`], [`Store::held`], [`Store::free_all`]: the time is proportional to the number of locks.
//! - [`Store::check`], [`Store::retrieve`], [`Lock::holder`]: a few system calls on files, which are short on a local file system.
//! - [`Lock::lock`], [`Lock::lock_send`] and their timed forms wait for the lock. `try_lock` and `try_lock_send` do not.
//!
//! # Examples
#![cfg_attr(feature = "shm", doc = "```")]
#![cfg_attr(not(feature = "shm"), doc = "```ignore")]
//! # let temporary = tempfile::tempdir().unwrap();
//! # let directory = temporary.path();
//! use lock_any::StoreUrl;
//!
//! // A URL by its text, for example "shm:my-engine", or by a path.
//! let url = StoreUrl::builder("shm").path(directory.join("locks")).build()?;
//! let store = lock_any::open_or_create(url)?;
//!
//! // Store the number in a database. Another process gets the same lock by `store.retrieve(id)`.
//! let lock = store.allocate("container web")?;
//! let id = lock.id();
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
#[cfg(feature = "tokio")]
mod lock_async;
mod options;
#[cfg(feature = "tokio")]
mod wait_queue;

#[cfg(feature = "tokio")]
pub use self::lock_async::LockAsync;
pub use self::options::StoreOptions;

#[cfg(feature = "tracing")]
pub use lock_core::events;
pub use lock_core::{
    Allocation, Backend, Breaking, Cancellation, Capabilities, Capacity, Cause, Deadline, Deadlines, Deadlock, DeadlockStep,
    Death, DeathReports, Dependence, DesiredAllocation, Error, ErrorDetails, ErrorKind, Exclusion, Fairness, Generation,
    Generations, GraphLock, GraphStore, GraphWait, Growth, Guard, GuardChecks, HeldBy, HeldDuringWait, HeldLock, Holder, Holders,
    Label, Labels, Lock, LockAddress, LockId, Names, Numbering, OpenMode, Operation, OwnerDeath, Persistence, Reconcile,
    Reconciled, Reentry, Registry, Removal, Result, SendGuard, SendGuards, Sharing, Store, StoreId, StoreUrl, StoreUrlBuilder,
    Temporary, ThreadDeath, Token, Tokens, UnresolvedDeath, WaitGraph, WaitOptions, Waiter, Waiters, Waiting, Waits, lock_all,
    lock_all_owned, register,
};

/// What a backend implements and uses, for a crate that registers one.
pub mod backend {
    pub use lock_core::{
        Acquired, Condition, Manager, MigrateFn, OpenFn, Options, OwnerKind, PerProcess, Proof, RawLock, Recovery, register,
    };
}

/// Opens an existing store.
///
/// The URL is a text, a [`StoreUrl`], or a [`StoreUrlBuilder`].
///
/// # Errors
/// [`ErrorKind::BadUrl`], [`ErrorKind::UnknownScheme`], [`ErrorKind::DuplicateScheme`]; [`ErrorKind::Absent`]. For a file that is not
/// a usable store: [`ErrorKind::NotAStore`], [`ErrorKind::OtherVersion`], [`ErrorKind::OtherAbi`], [`ErrorKind::OtherCapacity`],
/// [`ErrorKind::Corrupt`], [`ErrorKind::Untrusted`], [`ErrorKind::Destroyed`], [`ErrorKind::Unsupported`]. Also
/// [`ErrorKind::TooManyProcesses`], [`ErrorKind::Limit`] and [`ErrorKind::System`]; for a server [`ErrorKind::Unreachable`] and
/// [`ErrorKind::Denied`].
pub fn open(url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<Store> {
    open_with(url, OpenMode::Open)
}

/// Creates a store. A private store at a path also gets the missing directories of the path, with mode 0700.
///
/// # Errors
/// [`ErrorKind::Exists`]; otherwise as [`open`].
pub fn create(url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<Store> {
    open_with(url, OpenMode::Create)
}

/// Opens a store, and creates it as [`create`] does if it is absent. Of several concurrent callers, one creates the store and all others
/// open it.
///
/// # Errors
/// As [`open`], without [`ErrorKind::Absent`].
pub fn open_or_create(url: impl TryInto<StoreUrl, Error: Into<Error>>) -> Result<Store> {
    open_with(url, OpenMode::OpenOrCreate)
}

/// Opens a store in the given mode.
///
/// # Errors
/// As the function for that mode.
pub fn open_with(url: impl TryInto<StoreUrl, Error: Into<Error>>, mode: OpenMode) -> Result<Store> {
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
