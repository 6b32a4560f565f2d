//! The backends `sem` and `posix-sem`, and LXC's private lock: semaphores.
//!
//! | | [`SYSV`], `sem:NAME` | [`POSIX`], `posix-sem:NAME` | [`anonymous()`] |
//! |---|---|---|---|
//! | what | a System V semaphore for each lock | a process-shared `sem_t` for each lock | an unnamed `sem_t` |
//! | an owner dies | the kernel releases; the next owners get a report | it stays locked until [`Store::break_lock`] | |
//! | lock and unlock | two system calls | none | none |
//!
//! Both stores are an allocation table: `sem:NAME` is `/dev/shm/NAME`, and `sem:/path` is at that path. Options: `capacity=N` (or
//! `unbounded`), 1,048,576 unless the creator says otherwise, `mode=0600`,
//! `group=GROUP`, `owner=USER` or `owner=any` ([`TableOptions`](lock_table::TableOptions)), and `filesystem=any`
//! (see [`lock_table::filesystem`]).
//!
//! # `sem`
//! Locks are acquired with `SEM_UNDO`, so that the kernel gives back what a process held as soon as it dies. A word in the table
//! decides which process has a lock, and it changes hands only when the owner has released the lock or is proved dead; the
//! semaphore only tells waiters when to read it. A program that executes another one keeps its undo; then a waiter that finds
//! proof that the owner is dead takes over. Waiters are counted: each thread of this process, and each other process once.
//!
//! There is a semaphore set for each run of 1,024 ids, made when one of them is first used and removed by [`Store::destroy`].
//! Where a store's file was removed by hand, [`sysv::sets`] finds what is left, and so does `ipcs -s | grep 0x4c`. The limits of
//! the kernel (the sysctl `kernel.sem`) are errors that name the limit. A set has the owner and the mode of the store's file; a
//! process whose user may not change it gets [`System`](lock_core::ErrorKind::System) with EACCES from an acquisition. A release
//! after such a change of users frees the lock.
//!
//! ## IPC namespaces
//! Sets are in an IPC namespace. A store's sets stay where the first process made them while any process is not proved dead that
//! has the store open; a process of another namespace is refused with [`NotOurs`](lock_core::ErrorKind::NotOurs). Each process
//! checks that at its first use of a store, and so does a forked child.
//!
//! A thread may change its namespace (`unshare`, `setns`) with a handle open. Whatever it then does, no second owner gets in. Its
//! acquisitions are refused. Its release of a lock that it holds frees the lock. No semaphore of another program is changed, even
//! if that program's set has the same number: each operation compares a *seal* in the set, a number of 14 bits that depends on
//! the store and on the run of ids, behind the semaphores of the locks. The kernel does note a time in such a set when the
//! process ends (`sem_otime`), because it was asked to undo something there.
//!
//! ## Units that are lost or too many
//! The kernel gives the unit of a lock back when its owner calls `unshare` with `CLONE_NEWIPC` or `CLONE_SYSVSEM`, and any
//! program of the user may set the value of a semaphore (`semctl`). The owner keeps the lock. But waiters poll for a while, and
//! the death of such an owner is noticed within 200 ms, not earlier. A lock that is free without a unit is acquired after 200 ms.
//!
//! # `posix-sem`
//! The kernel knows nothing of a `sem_t`, and does not give back what the dead held. [`Store::held`] names dead owners, and
//! [`Store::break_lock`] frees such a lock, once, if several threads try that; the next owner is told of the death. Breaking the
//! lock of an owner that lives is **dangerous**: two are inside then. That owner's release is refused with
//! [`Lost`](lock_core::ErrorKind::Lost). It needs glibc 2.30 or newer, for `sem_clockwait`, or musl; programs of the two cannot
//! share a store. musl waits by a clock that can be set: a deadline is never early there, but it may be late when the clock is
//! set back during the wait.
//!
//! Every process that has a store open may write to its semaphores, and libc's functions work on what is there. Damage is an
//! error where it is noticed; a process that damages a semaphore on purpose can end others that use it. Share a store with
//! processes that are trusted so far.
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

use lock_core::{Backend, Breaking, Capabilities, Deadlines, OwnerDeath, Persistence, Waiters};

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
const ON_A_TABLE: Capabilities = lock_table::CLAIMS.deadlines(Deadlines::Monotonic).persistence(Persistence::Boot);

lock_core::register!(SYSV);
lock_core::register!(POSIX);
