//! The backend `shm`: robust futexes in a shared segment.
//!
//! `shm:NAME` is the store `/dev/shm/NAME.shm`. `shm:/path` is the store at that path, which should be on a tmpfs. Creating a private
//! store creates the missing directories of the path; see [`with_parents`](lock_table::with_parents).
//!
//! The options are `capacity=N` or `capacity=unbounded` (1,048,576 locks by default), `mode=0600`, `group=GROUP`, `owner=USER` or
//! `owner=any` (see [`TableOptions`](lock_table::TableOptions)), and `filesystem=any` (see [`lock_table::filesystem`]).
//!
//! Acquiring and releasing an uncontended lock makes no system call, allocates nothing, and accesses only the cache line of the lock
//! in the store. A held lock is linked into the thread's robust list, together with libc's own mutexes, so that the kernel frees it
//! as soon as its owner dies. For deaths that the robust list does not cover, a waiter takes the lock over only after it has proof
//! that the owner's process is dead.
//!
//! ```
//! # let temporary = tempfile::tempdir().unwrap();
//! # let directory = temporary.path();
//! use lock_core::{OpenMode, Registry, Store, StoreUrl};
//!
//! let registry = Registry::default().merge([lock_shm::BACKEND])?;
//! let url = StoreUrl::builder("shm").path(directory.join("store")).build()?;
//! let store = Store::open(&registry, url, OpenMode::OpenOrCreate)?;
//! let lock = store.allocate("an example")?;
//! let guard = lock.lock()?;
//! assert!(guard.recovered().is_none());
//! # Ok::<(), lock_core::Error>(())
//! ```
#![deny(unsafe_code)]

mod env;
mod linked;
mod lock;
mod manager;
mod recovery;
mod robust;
mod starvation;
mod sys;
mod wait;

use lock_core::{Backend, Deadlines, Fairness, OwnerDeath, Persistence, SendGuards, ThreadDeath};

/// The backend `shm`.
pub const BACKEND: Backend = Backend::new(
    "shm",
    env!("CARGO_PKG_NAME"),
    "robust futexes in a shared segment: shm:NAME (/dev/shm/NAME.shm) or shm:/path",
    manager::open,
)
.with(
    lock_table::CLAIMS
        .with_owner_death(OwnerDeath::Reported)
        .with_thread_death(ThreadDeath::Reported)
        .with_deadlines(Deadlines::Monotonic)
        .with_send_guards(SendGuards::Supported)
        .with_fairness(Fairness::Eventual)
        .with_persistence(Persistence::Boot),
);

lock_core::register!(BACKEND);
