//! The backend `podman`: the locks of podman's shared memory segment, shared with running podman processes.
//!
//! podman has a lock for each container, pod and volume. The locks are mutexes in a file in `/dev/shm`, which all podman processes of a
//! user map. This backend uses the same mutexes byte for byte, so that its guards exclude podman and are excluded by it. It adds deadlines,
//! reports of dead owners, and lists of owners and waiters, also for podman processes that were not changed.
//!
//! # Store URLs
//! - `podman:libpod_lock` is `/dev/shm/libpod_lock`, the segment of root's podman.
//! - `podman:rootless` is `/dev/shm/libpod_rootless_lock_UID`, the segment of the calling user's podman. The option `uid=N` names another user.
//! - `podman:/path` is the segment at that path.
//!
//! The options are:
//! - `locks=N`: the number of locks, 2,048 by default. It is rounded up to a multiple of 32, as podman does. An existing segment with another
//!   number is refused.
//! - `owner=USER` or `owner=any`: another trusted owner of the file. Trusted are the calling user and root. Root also trusts the user whose
//!   id is in the name of a rootless segment.
//! - `filesystem=any`: see [`lock_table::filesystem`].
//!
//! # Locking
//! A mutex follows the rules of glibc, and is linked into the same robust list of the thread as libc's own mutexes. The kernel frees it as
//! soon as its owner dies. The next owner gets a report ([`Guard::recovered`](lock_core::Guard::recovered)). It names the process if the
//! owner used this crate, and only the thread if it was podman. Each sleep is bounded, so that a lost wake-up, which glibc's protocol allows,
//! delays this crate by at most 200 ms, and is repaired for podman processes by the next release.
//!
//! A guard that is released without [`mark_consistent`](lock_core::Guard::mark_consistent) after a report leaves the mutex in the state of a dead
//! owner. The next owner gets the report again, or EOWNERDEAD if it is podman, which then goes on as after any death.
//!
//! # Allocation
//! Ids are allocated lowest first under the segment mutex, as podman does. Podman records the ids of its objects in its database: an id that
//! another program allocates is one that podman does not use, until `podman system renumber` frees all ids. A process that is killed
//! between two steps of an allocation may leave an id allocated, in podman as well. An allocation waits for the segment mutex for at most
//! 30 seconds.
//!
//! # Inspection
//! Lists of allocated ids, owners and waiters read the file and `/proc`. They lock no mutex, and work while the segment mutex is stuck. The
//! owner of a mutex is the thread whose id is in its first word. Each answer that is not certain has a
//! [`doubt`](lock_core::HeldLock::doubt), for example when the thread's process does not use the segment.
//!
//! # Safety of the file
//! A file is refused if it is a symbolic link, has other hard links, is writable for other users, or belongs to an untrusted user.
//! A segment that a killed podman process has not completed is refused with the advice to remove it. A new segment is complete when it gets
//! its name.
//!
//! The links of the robust list are in the segment, as those of podman are. A program that may write to the segment can thus damage the
//! memory of programs that hold its locks.
//!
//! # Limitations
//! - Guards belong to threads. Labels, names, tokens and removal are not supported.
//! - A thread holds at most 1,000 locks of segments. The kernel recovers 2,048 robust mutexes of a thread.
//! - Locking needs glibc. A program with musl can only inspect a segment. A segment of a podman that was built with musl has another layout
//!   and is refused.
//! - After `exec` from a thread that is not the main thread, the kernel does not free the mutexes of that thread. Waiters of this crate in the
//!   same PID namespace take them over. Podman's do not, and mutexes that podman held stay locked.
//! - A file that is truncated while it is in use raises a SIGBUS in owners and waiters, in podman as well.
//!
//! # Lock files
//! podman has a second kind of locks, for systems without shared memory: a file for each lock (`lock_type = "file"` in containers.conf).
//! The backend [`podman-file`](FILES) lists them, with their owners and waiters: `podman-file:/run/libpod` for the files in
//! `/run/libpod/locks`. It acquires and allocates none, because that cannot be made safe beside podman: podman removes the file of a lock that
//! is freed while it is held, and a later allocation makes another file with the same number, so that the lock has two owners.
//!
//! # Examples
//! ```
//! # let temporary = tempfile::tempdir().unwrap();
//! # let directory = temporary.path();
//! use lock_core::{OpenMode, Registry, Store, StoreUrl};
//!
//! let registry = Registry::default().merge([lock_podman::BACKEND])?;
//! let url = StoreUrl::builder("podman").path(directory.join("libpod_lock")).build()?;
//! let store = Store::open(&registry, url, OpenMode::OpenOrCreate)?;
//! let lock = store.allocate("")?;
//! let guard = lock.lock()?;
//! assert!(guard.recovered().is_none());
//! # Ok::<(), lock_core::Error>(())
//! ```
#![deny(unsafe_code)]

mod allocating;
mod files;
mod held;
mod image;
mod inspect;
mod layout;
mod location;
mod lock;
mod manager;
mod mutex;
mod options;
mod record;
mod segment;
mod sys;

use lock_core::{
    Backend, Capabilities, Deadlines, DeathReports, Exclusion, GuardChecks, Holders, OwnerDeath, Persistence, Reconcile, Reentry,
    ThreadDeath, Waiters,
};

/// The backend `podman`.
pub const BACKEND: Backend = Backend::new(
    "podman",
    env!("CARGO_PKG_NAME"),
    "podman's locks: podman:libpod_lock, podman:rootless or podman:/path",
    manager::open,
)
.with(
    Capabilities::minimal()
        .with_owner_death(OwnerDeath::Reported)
        .with_thread_death(ThreadDeath::Reported)
        .with_death_reports(DeathReports::UntilConsistent)
        .with_deadlines(Deadlines::Monotonic)
        .with_reentry(Reentry::Refused)
        .with_guard_checks(GuardChecks::Supported)
        .with_holders(Holders::Named)
        .with_waiters(Waiters::Found)
        .with_reconcile(Reconcile::Supported)
        .with_persistence(Persistence::Boot),
);

/// The backend `podman-file`, whose stores can only be listed.
pub const FILES: Backend = Backend::new(
    "podman-file",
    env!("CARGO_PKG_NAME"),
    "podman's lock files (lock_type = \"file\"), to list only: podman-file:/run/libpod",
    files::open,
)
.with(
    Capabilities::minimal()
        .with_exclusion(Exclusion::ReadOnly)
        .with_owner_death(OwnerDeath::Released)
        .with_holders(Holders::Named)
        .with_waiters(Waiters::Found)
        .with_persistence(Persistence::Boot),
);

/// The backends of this crate.
pub const BACKENDS: [Backend; 2] = [BACKEND, FILES];

lock_core::register!(BACKEND);
lock_core::register!(FILES);
