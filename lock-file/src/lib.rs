//! The backend `file`: one file per lock, beside an allocation table; and LXC's named lock, the backend `lxc`.
//!
//! `file:/dir` is the store in the directory `/dir`, which is created with it. `file:NAME` is `$XDG_RUNTIME_DIR/NAME`, and for root
//! `/run/lock/NAME`. Options: `capacity=N` (or `unbounded`), 1,048,576 unless the creator says otherwise, `mode=0600`,
//! `group=GROUP`, `owner=USER` or `owner=any` ([`TableOptions`](lock_table::TableOptions)), and `filesystem=any`
//! (see [`lock_table::filesystem`]).
//!
//! A lock is an open-file-description lock ([`fcntl_locking(2)`]) on the whole of a file, so `lslocks` shows it, and other programs that
//! use such locks can share it. The kernel drops it when its owner dies, whatever happens; the record that the dead owner left in the
//! table tells the next one. On a disk a store survives a restart of the machine: allocated ids stay, and owners of an earlier boot are
//! dead, since none of them holds its place in the table any more.
//!
//! # What it costs
//! Taking a lock that is free, and giving it back, is two system calls on a descriptor that the handle opens when it first locks, and
//! keeps: as many handles can have been locked as the process may have files open (`RLIMIT_NOFILE`). It does not matter how many locks
//! are held, since each has a file of its own.
//!
//! # How it waits
//! Without a deadline in the kernel, in the blocking call. With one, it sleeps until the file is closed by somebody (inotify), since
//! that is what happens when an owner dies or a foreign program lets go; a handle of this backend, which keeps its descriptor, closes
//! another one for those who wait. Nobody has to be told for the lock to be found free: ten times a second a waiter looks by itself.
//! Neither signals nor threads are used. A process has one inotify instance, made when it first waits with a deadline; when the user's
//! instances are used up (`fs.inotify.max_user_instances`), releases are noticed after a tenth of a second.
//!
//! # Where it ends
//! - The table is a shared mapping, which machines do not share: a directory on a network file system, or on one that a program provides
//!   (FUSE), is refused; see [`lock_table::filesystem`]. [`lxc()`] does not check that, because LXC's own tools do not.
//! - A lock that a foreign program holds has no holder that could be named.
//! - A `destroy` that is killed half way may leave lock files, which the `destroy` of the next store in that directory removes.
//! - After a store was destroyed, handles that have been locked before go on excluding each other; others are refused.
//!
//! ```
//! # let directory = tempfile::tempdir().unwrap();
//! # let url = format!("file:{}/store", directory.path().display());
//! use lock_core::{OpenMode, Registry, Store};
//!
//! let registry = Registry::default().merge([lock_file::BACKEND])?;
//! let store = Store::open(&registry, &url, OpenMode::OpenOrCreate)?;
//! let lock = store.allocate("an example")?;
//! let guard = lock.lock()?;
//! assert!(guard.recovered().is_none());
//! # Ok::<(), lock_core::Error>(())
//! ```
//!
//! [`fcntl_locking(2)`]: https://man7.org/linux/man-pages/man2/fcntl_locking.2.html
#![forbid(unsafe_code)]

mod beneath;
mod descriptors;
mod directory;
mod hub;
mod idle;
mod lock;
mod lxc;
mod manager;
mod ofd;
mod runtime;
mod tree;
mod wait;

use lock_core::{Backend, Capabilities, Deadlines, Numbering, OwnerDeath, Persistence, Reentry, ThreadDeath};

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
        .owner_death(OwnerDeath::Reported)
        .thread_death(ThreadDeath::Kept)
        .deadlines(Deadlines::Monotonic)
        .persistence(Persistence::Disk),
);

/// The backend `lxc`: the lock by which LXC's tools protect a container's files, [`lxc`](lxc()) by URL.
pub const LXC: Backend =
    Backend::new("lxc", env!("CARGO_PKG_NAME"), "LXC's lock of a container: lxc:/var/lib/lxc?name=NAME", lxc::open).with(
        Capabilities::least()
            .numbering(Numbering::Single)
            .owner_death(OwnerDeath::Released)
            .thread_death(ThreadDeath::Kept)
            .deadlines(Deadlines::Monotonic)
            .reentry(Reentry::Refused)
            .persistence(Persistence::Boot),
    );

lock_core::register!(BACKEND);
lock_core::register!(LXC);
