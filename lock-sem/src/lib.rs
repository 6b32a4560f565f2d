//! Locks on semaphores: the backends `sem` and `posix-sem`, and LXC's private lock.
//!
//! | | [`SYSV`], `sem:NAME` | [`POSIX`], `posix-sem:NAME` | [`anonymous()`] |
//! |---|---|---|---|
//! | implementation | a System V semaphore for each lock | a process-shared `sem_t` for each lock | an unnamed `sem_t` |
//! | death of an owner | the kernel releases the lock; the next owners get a report | the lock stays held until [`Store::break_lock`] | |
//! | system calls of lock and unlock | two | none | none |
//!
//! A store of either backend is an allocation table. `sem:NAME` is the file `/dev/shm/NAME.sem`, `posix-sem:NAME` is the file
//! `/dev/shm/NAME.posix-sem`, and `sem:/path` is the file at that path. Creating a private store creates the missing directories of the
//! path; see [`with_parents`](lock_table::with_parents). The options are:
//!
//! - `capacity=N` or `capacity=unbounded`: the number of locks, 1,048,576 by default;
//! - `mode=0600`, `group=GROUP`, `owner=USER` or `owner=any`: see [`TableOptions`](lock_table::TableOptions);
//! - `filesystem=any`: see [`lock_table::filesystem`].
//!
//! # The backend `sem`
//! An acquisition takes a unit of the semaphore with `SEM_UNDO`, so the kernel gives the unit back as soon as the process dies.
//! An *ownership* word in the table decides which process has the lock. It changes only when the owner has released the lock or
//! is proven dead. The semaphore only wakes waiters. A process that executes another program keeps its units. Then a waiter takes
//! the lock over when it finds proof that the owner is dead.
//!
//! ## Semaphore sets
//! Each *run* of 1,024 ids has a semaphore set. The first use of one of the ids creates the set, and [`Store::destroy`] removes
//! it. A store whose file was deleted in another way leaves its sets behind. [`sysv::sets`] finds them, and so does `ipcs -s |
//! grep 0x4c`.
//!
//! An error of kind [`Limit`](lock_core::ErrorKind::Limit) names the limit of the kernel (the sysctl `kernel.sem`) and how to
//! raise it.
//!
//! A set has the owner and the mode of the store's file. A process whose user may not change the set gets
//! [`System`](lock_core::ErrorKind::System) with EACCES from an acquisition. If the user changes while the process holds a lock,
//! the release still frees the lock.
//!
//! ## IPC namespaces
//! A set belongs to an IPC namespace. The first process that uses a store chooses the IPC namespace of its sets. It can change
//! only when all processes that have the store open are proven dead. A process in another IPC namespace is refused with
//! [`Untrusted`](lock_core::ErrorKind::Untrusted). Each process checks this at its first use of a store, and so does a forked child.
//!
//! A thread may change its IPC namespace (`unshare`, `setns`) while it has a handle open. Then its acquisitions are refused, and
//! its release of a lock frees the lock. The lock never has two owners.
//!
//! The semaphores of other programs do not change, even if a set in the new IPC namespace has the same id. Each operation
//! compares a *seal*, a 14-bit hash of the store and the run in a semaphore after those of the locks. The kernel may still update
//! the time of the last operation (`sem_otime`) of such a set when the process ends, because the process has an undo record for
//! that id.
//!
//! ## The order of waiting threads
//! The kernel serves the waiting threads of several processes in the order in which they began to sleep. A waiter checks the owner after
//! 200 ms, and joins the queue of the kernel again. The threads of one process wait at a gate, and one of them waits in the kernel. The
//! gate is kept for a thread that has waited for longer than a millisecond.
//!
//! ## Lost and surplus units
//! The kernel gives the unit of a lock back when its owner calls `unshare` with `CLONE_NEWIPC` or `CLONE_SYSVSEM`, and any
//! program of the user may set the value of a semaphore (`semctl`). The owner keeps the lock. But waiters poll for a while, and
//! they notice the death of such an owner within 200 ms. A free lock without a unit is acquired after 200 ms.
//!
//! # The backend `posix-sem`
//! The kernel does not know about a `sem_t`, so it does not release the locks of a dead process. [`Store::held`] lists dead
//! owners, and [`Store::break_lock`] frees such a lock. If several threads break a lock at the same time, one succeeds. The next
//! owner gets a report of the death.
//!
//! A thread that has waited for a millisecond gets the lock before threads that began to wait later. A waiter that does not run for
//! 10 ms is passed over for a time, a second at most, or until it runs.
//!
//! Breaking the lock of a living owner is **dangerous**, because the lock then has two owners. The release of the first owner
//! fails with [`Lost`](lock_core::ErrorKind::Lost).
//!
//! The backend needs musl, or glibc 2.30 for `sem_clockwait`. Programs with different C libraries cannot share a store. With
//! musl, deadlines depend on the realtime clock: a wait never ends before its deadline, but may end late if the clock is set back
//! during the wait.
//!
//! Every process that has a store open may write to its semaphores, and the functions of the C library use their bytes. A process
//! that damages a semaphore on purpose can end other processes that use it. Accidental damage is reported as an error where it is
//! detected. So share a store only with trusted processes.
//!
//! # Examples
//! ```
//! # let temporary = tempfile::tempdir().unwrap();
//! # let directory = temporary.path();
//! use lock_core::{OpenMode, Registry, Store, StoreUrl};
//!
//! let registry = Registry::default().merge(lock_sem::BACKENDS)?;
//! let url = StoreUrl::builder("sem").path(directory.join("store")).build()?;
//! let store = Store::open(&registry, url, OpenMode::OpenOrCreate)?;
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
mod posix;
mod sys;
pub mod sysv;

use lock_core::{Backend, Breaking, Capabilities, Deadlines, Fairness, OwnerDeath, Persistence, SendGuards};

pub use self::anonymous::{ANONYMOUS, anonymous};

/// The backend `sem`.
pub const SYSV: Backend = Backend::new(
    "sem",
    env!("CARGO_PKG_NAME"),
    "System V semaphores with undo: sem:NAME (/dev/shm/NAME.sem) or sem:/path",
    sysv::open,
)
.with(TABLE_CLAIMS.with_owner_death(OwnerDeath::Reported));

/// The backend `posix-sem`.
pub const POSIX: Backend = Backend::new(
    "posix-sem",
    env!("CARGO_PKG_NAME"),
    "POSIX semaphores in a shared segment: posix-sem:NAME (/dev/shm/NAME.posix-sem) or posix-sem:/path",
    posix::open,
)
.with(TABLE_CLAIMS.with_owner_death(OwnerDeath::Stuck).with_breaking(Breaking::Explicit));

/// The backends of this crate.
pub const BACKENDS: [Backend; 2] = [SYSV, POSIX];

/// The directory of stores with a plain name.
const DIRECTORY: &str = "/dev/shm";

/// The capabilities that both backends claim.
const TABLE_CLAIMS: Capabilities = lock_table::CLAIMS
    .with_deadlines(Deadlines::Monotonic)
    .with_send_guards(SendGuards::Supported)
    .with_fairness(Fairness::Eventual)
    .with_persistence(Persistence::Boot);

lock_core::register!(SYSV);
lock_core::register!(POSIX);
