//! Locks on files: the backends `file`, with a lock file for each lock, and `lxc`, LXC's named lock.
//!
//! # Store URLs
//! `file:/dir` is the store in the directory `/dir`; creating the store creates the directory, and for a private store also the missing
//! directories of its path; see [`with_parents`](lock_table::with_parents). `file:NAME` is `$XDG_RUNTIME_DIR/NAME`, and
//! `/run/lock/NAME` for root. The options are:
//!
//! - `capacity=N` or `capacity=unbounded`: the number of locks, 1,048,576 by default;
//! - `mode=0600`, `group=GROUP`, `owner=USER` or `owner=any`: see [`TableOptions`](lock_table::TableOptions);
//! - `filesystem=any`: see [`lock_table::filesystem`].
//!
//! # Locking
//! A lock is an open-file-description lock ([`fcntl_locking(2)`]) on a whole file. `lslocks` lists it, and other programs that
//! use open-file-description locks can share it.
//!
//! The kernel releases the lock when its owner dies. The owner's record stays in the table, so the next owner gets a report of the
//! death. On a disk, a store survives a restart of the machine: allocated ids stay, and every owner of an earlier boot is dead.
//!
//! # Cost
//! Acquiring and releasing a free lock takes two system calls. A handle opens its lock file at the first acquisition and keeps
//! the descriptor. A process closes the files of idle handles when more than 1,024 files, or a quarter of `RLIMIT_NOFILE`, are
//! open. Only a held lock needs an open file, so `RLIMIT_NOFILE` limits the number of locks that a process can hold at the same
//! time.
//!
//! # Waiting
//! A waiter without a deadline blocks in the kernel. A waiter with a deadline watches the file with inotify: the kernel reports a
//! closed descriptor when an owner dies or a foreign program closes the file. An owner of this backend keeps its descriptor open,
//! so it opens and closes the file once more after a release when there are waiters.
//!
//! A waiter also retries ten times a second, so it acquires the lock without any report. The backend uses neither signals nor
//! threads. A process creates one inotify instance when it first waits with a deadline. If the user has reached
//! `fs.inotify.max_user_instances`, waiters notice a release within 100 ms.
//!
//! # Order
//! A thread that has waited for a millisecond gets the lock before threads that began to wait later, with or without a deadline. A
//! thread that locks again immediately gives way, and `try_lock` returns `None` for a moment. A waiter that does not run for 10 ms is
//! passed over for a time, a second at most, or until it runs. Programs that lock the file without this library keep no order.
//!
//! # Limitations
//! - The table is a shared mapping, and machines do not share mappings. A store on a network file system or on FUSE is refused;
//!   see
//!   [`lock_table::filesystem`]. [`lxc()`] does not check the file system, because LXC's own tools do not.
//! - The holder of a lock is unknown when a foreign program holds it.
//! - A process that is killed during `destroy` may leave lock files. Destroying the next store in that directory removes them.
//! - Handles that were locked before the store was destroyed continue to exclude each other. Other handles are refused.
//!
//! # Examples
//! ```
//! # let temporary = tempfile::tempdir().unwrap();
//! # let directory = temporary.path();
//! use lock_core::{OpenMode, Registry, Store, StoreUrl};
//!
//! let registry = Registry::default().merge([lock_file::BACKEND])?;
//! let url = StoreUrl::builder("file").path(directory.join("store")).build()?;
//! let store = Store::open(&registry, url, OpenMode::OpenOrCreate)?;
//! let lock = store.allocate("an example")?;
//! let guard = lock.lock()?;
//! assert!(guard.recovered().is_none());
//! # Ok::<(), lock_core::Error>(())
//! ```
//!
//! [`fcntl_locking(2)`]: https://man7.org/linux/man-pages/man2/fcntl_locking.2.html
#![forbid(unsafe_code)]

mod beneath;
mod claim;
mod descriptors;
mod directory;
mod lock;
mod lock_file;
mod lxc;
mod manager;
mod open_files;
mod recovery;
mod release_watcher;
mod runtime_dir;
mod sys;
mod tree;
mod wait;

use lock_core::{
    Backend, Capabilities, Deadlines, Fairness, GuardChecks, Numbering, OwnerDeath, Persistence, Reentry, SendGuards,
    ThreadDeath, Waiters,
};

pub use lxc::lxc;

/// The backend `file`.
pub const BACKEND: Backend = Backend::new(
    "file",
    env!("CARGO_PKG_NAME"),
    "file locks: file:/dir, or file:NAME ($XDG_RUNTIME_DIR/NAME, for root /run/lock/NAME)",
    manager::open,
)
.with(
    lock_table::CLAIMS
        .with_owner_death(OwnerDeath::Reported)
        .with_thread_death(ThreadDeath::Kept)
        .with_deadlines(Deadlines::Monotonic)
        .with_send_guards(SendGuards::Supported)
        .with_fairness(Fairness::Eventual)
        .with_persistence(Persistence::Disk),
);

/// The backend `lxc`: the lock that LXC's tools hold on a container. It is [`lxc`](lxc()) by URL.
pub const LXC: Backend =
    Backend::new("lxc", env!("CARGO_PKG_NAME"), "LXC's lock of a container: lxc:/var/lib/lxc?name=NAME", lxc::open).with(
        Capabilities::minimal()
            .with_numbering(Numbering::Single)
            .with_owner_death(OwnerDeath::Released)
            .with_thread_death(ThreadDeath::Kept)
            .with_deadlines(Deadlines::Monotonic)
            .with_reentry(Reentry::Refused)
            .with_guard_checks(GuardChecks::Supported)
            .with_send_guards(SendGuards::Supported)
            .with_waiters(Waiters::Found)
            .with_persistence(Persistence::Boot),
    );

lock_core::register!(BACKEND);
lock_core::register!(LXC);
