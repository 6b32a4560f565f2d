//! The backends `sem` and `posix-sem`, and LXC's private lock: semaphores.
//!
//! | | [`SYSV`], `sem:NAME` | [`POSIX`], `posix-sem:NAME` | [`anonymous()`] |
//! |---|---|---|---|
//! | what | a System V semaphore for each lock | a process-shared `sem_t` for each lock | an unnamed `sem_t` |
//! | an owner dies | the kernel releases, and the next owner is told | it stays locked until [`Store::break_lock`] | |
//! | lock and unlock | two system calls | none | none |
//!
//! Both stores are an allocation table: `sem:NAME` is `/dev/shm/NAME`, and `sem:/path` is at that path. Options: `capacity=N` (or
//! `unbounded`), 1,048,576 unless the creator says otherwise, and `mode=0600`.
//!
//! # `sem`
//! Locks are taken with `SEM_UNDO`, so that the kernel gives back what a process held when it dies, at once. A program that executes
//! another one keeps its undo; then a waiter that finds proof that the owner is gone takes over. Waiters are counted: each thread of
//! this process, and each other process once.
//!
//! There is a semaphore set for each run of 1,024 ids, made when one of them is first used and removed by [`Store::destroy`].
//! Where a store's file was removed by hand, [`sysv::sets`] finds what is left, and so does `ipcs -s | grep 0x4c`. The limits of the
//! kernel (the sysctl `kernel.sem`) are errors that name the limit. Sets live in an IPC namespace: a process in another one is refused
//! while somebody uses the store where its sets are.
//!
//! What is not promised: when one thread of a process executes another program while a second one is just between taking a semaphore and
//! saying so, the lock is free again only when that other program ends. And a process that calls `unshare(CLONE_NEWIPC)` loses the
//! locks that it holds, as the kernel documents for `SEM_UNDO`.
//!
//! # `posix-sem`
//! The kernel knows nothing of a `sem_t`, and nobody gives back what the dead held: that is what this backend is honest about.
//! [`Store::held`] names the dead, and [`Store::break_lock`] gives such a lock back, once, whoever else tries the same; the next owner is
//! told who died. Breaking the lock of an owner that lives is **dangerous**: two are in then; that owner's release is refused.
//! It needs glibc 2.30 or newer, for `sem_clockwait`, or musl; programs of the two cannot share a store. musl waits by a clock that
//! can be set: a deadline is never early there, but it may be late when the clock is set back during the wait.
//!
//! ```
//! # let directory = tempfile::tempdir().unwrap();
//! # let url = format!("sem:{}/store", directory.path().display());
//! use lock_core::{OpenMode, Registry, Store};
//!
//! let registry = Registry::default().merge(lock_sem::BACKENDS)?;
//! let store = Store::open(&registry, &url, OpenMode::OpenOrCreate)?;
//! let lock = store.allocate("an example")?;
//! let guard = lock.lock()?;
//! assert!(guard.recovered().is_none());
//! drop(guard);
//! store.destroy()?;
//! # Ok::<(), lock_core::Error>(())
//! ```
//!
//! [`Store::break_lock`]: lock_core::Store::break_lock
//! [`Store::destroy`]: lock_core::Store::destroy
//! [`Store::held`]: lock_core::Store::held
#![deny(unsafe_code)]

mod anonymous;
mod hash;
mod posix;
mod sys;
pub mod sysv;

use lock_core::{Backend, Breaking, Capabilities, Deadlines, OwnerDeath, Persistence, Waiters, table};

pub use self::anonymous::{ANONYMOUS, anonymous};

/// The backend `sem`.
pub const SYSV: Backend = Backend::new(
    "sem",
    env!("CARGO_PKG_NAME"),
    "System V semaphores with undo: sem:NAME (/dev/shm/NAME) or sem:/path",
    sysv::open,
)
.with(ON_A_TABLE.owner_death(OwnerDeath::Reported).waiters(Waiters::Counted));

/// The backend `posix-sem`.
pub const POSIX: Backend = Backend::new(
    "posix-sem",
    env!("CARGO_PKG_NAME"),
    "POSIX semaphores in a shared segment: posix-sem:NAME (/dev/shm/NAME) or posix-sem:/path",
    posix::open,
)
.with(ON_A_TABLE.owner_death(OwnerDeath::Stuck).breaking(Breaking::Explicit));

/// The backends of this crate.
pub const BACKENDS: [Backend; 2] = [SYSV, POSIX];

/// Where stores with a plain name are.
const DIRECTORY: &str = "/dev/shm";

/// What both claim.
const ON_A_TABLE: Capabilities = table::CLAIMS.deadlines(Deadlines::Monotonic).persistence(Persistence::Boot);

lock_core::register!(SYSV);
lock_core::register!(POSIX);
