//! The backend `shm`: robust futexes in a shared segment.
//!
//! `shm:NAME` is the store `/dev/shm/NAME`; `shm:/path` is a store at that path, best on a tmpfs. Options: `capacity=N` (or
//! `unbounded`), 1,048,576 unless the creator says otherwise, `mode=0600`,
//! `group=GROUP`, `owner=USER` or `owner=any` ([`TableOptions`](lock_table::TableOptions)), and `filesystem=any`
//! (see [`lock_table::filesystem`]).
//!
//! Taking a lock that is free, and giving it back, is no system call, no allocation, and touches no cache line but the lock's. The
//! locks are in the kernel's robust list, next to libc's own, so that the death of an owner frees them at once; for the deaths that
//! the list cannot serve, a waiter looks for proof that the owner's process is dead, and takes over on proof only.
//!
//! ```
//! # let directory = tempfile::tempdir().unwrap();
//! # let url = format!("shm:{}/store", directory.path().display());
//! use lock_core::{OpenMode, Registry, Store};
//!
//! let registry = Registry::default().merge([lock_shm::BACKEND])?;
//! let store = Store::open(&registry, &url, OpenMode::OpenOrCreate)?;
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
mod robust;
mod sys;
mod waiters;

use lock_core::{Backend, Deadlines, OwnerDeath, Persistence, ThreadDeath};

/// The backend `shm`.
pub const BACKEND: Backend = Backend::new(
    "shm",
    env!("CARGO_PKG_NAME"),
    "robust futexes in a shared segment: shm:NAME (/dev/shm/NAME) or shm:/path",
    manager::open,
)
.with(
    lock_table::CLAIMS
        .owner_death(OwnerDeath::Reported)
        .thread_death(ThreadDeath::Reported)
        .deadlines(Deadlines::Monotonic)
        .persistence(Persistence::Boot),
);

lock_core::register!(BACKEND);
