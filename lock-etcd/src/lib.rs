//! Locks on an etcd cluster, for processes on several machines: the backend `etcd`.
//!
//! # Store URLs
//! `etcd://HOST:2379/PREFIX` is the store whose keys start with `/PREFIX/`. Several servers of the cluster are separated by commas:
//! `etcd://a:2379,b:2379,c:2379/PREFIX`. If one does not answer, the next one is asked. The options are:
//!
//! - `capacity=N` or `capacity=unbounded`: the number of locks, 1,048,576 by default;
//! - `ttl=10s`: the time to live of a session, at least 2 s; the lock of a dead owner becomes free when it ends;
//! - `margin=2s`: how long before that an owner stops relying on its locks, a fifth of `ttl` by default;
//! - `timeout=3s`: the time limit of a request, with all its attempts;
//! - `user=NAME`: the user; its password is in the environment variable `ETCD_PASSWORD` or, with `password-file=PATH`, in a file;
//! - `tls=on`, with `ca=PATH`, `cert=PATH` and `key=PATH` (PEM): TLS, with the crate's feature `tls`. `ca` contains the certificates of
//!   the authorities that may sign the server's certificate; `cert` and `key` are those of the client.
//!
//! The server needs etcd 3.4 or newer, with its JSON gateway, which is on by default.
//!
//! # Locking
//! A process has one lease for each store that it uses. An acquisition of a free lock is one transaction. It makes a key in the queue of
//! the lock, tied to the lease, and a record of the owner, which is not. A release is one transaction, which removes both, if the key is
//! still the one that the acquisition made. So a late release does not release a newer owner.
//!
//! If the session of an owner ends, its key in the queue is removed and the record stays, so the next owner gets a report of the death.
//! The lock becomes free at most `ttl` after the last sign of life of the owner's process; a larger cluster or a new leader can need
//! longer. The token of an acquisition is the revision at which its key was created, added to the time of the store's creation.
//!
//! **A process can lose a lock while it runs**, if the network or a stop cuts it off from the cluster for longer than `ttl`. It learns of
//! that `margin` before another owner is let in, by [`Guard::on_lost`](lock_core::Guard::on_lost),
//! [`Guard::valid_for`](lock_core::Guard::valid_for) and [`Guard::check`](lock_core::Guard::check). The exclusion is complete if the
//! protected resource refuses tokens that are not the greatest.
//!
//! # Cost
//! | operation | requests |
//! |---|---|
//! | acquire a free lock, release | one write each |
//! | try a held lock | one write that changes nothing |
//! | allocate, free | one read and one write each |
//! | retrieve; check a guard | one read |
//! | find a name | two reads; a new name also one write |
//! | wait for a held lock | two writes and two reads, however long |
//!
//! The first acquisition of a process also grants the lease, which a thread renews every third of `ttl`. The cost of allocating does not
//! depend on the number of allocated or free ids.
//!
//! # Waiting
//! Waiters queue, and are served in the order of their arrival. Each watches the key before its own, so that a release wakes one waiter.
//! A waiter uses one connection while it waits. A wait goes on if a server restarts or a connection is cut, for at most `ttl`; it then
//! ends with [`ErrorKind::Unreachable`](lock_core::ErrorKind::Unreachable).
//!
//! A wait that ends at its deadline removes its key, so it ends later by one request.
//!
//! # Requests without an answer
//! A request whose answer is lost is repeated, on the same server or on another one, until `timeout`. A repeated transaction changes
//! nothing and finds out what the first one did. If there is no answer at all, the operation is
//! [`ErrorKind::Unreachable`](lock_core::ErrorKind::Unreachable), and may have happened: a lock is then released, and a place in a queue
//! is removed, as soon as a server answers; an allocated id stays allocated.
//!
//! # Limitations
//! - A new cluster that is restored from a backup of an old one repeats revisions, and tokens with them. Create a new store then.
//! - A key without a lease in the queue of a lock blocks the lock. Time-outs name the key, and the list of held locks contains the lock.
//! - [`Store::free_all`](lock_core::Store::free_all) and [`Store::reconcile`](lock_core::Store::reconcile) change some 40 ids in one
//!   transaction, and are not atomic.
//! - A process that opens a store several times by the same URL has one session. By another URL it has another one, and a thread that
//!   holds a lock is not refused it by the other handle, but waits.
//! - A store that is destroyed leaves the keys of held locks until they are released.
//! - etcd ends a few hundred leases a second; a cluster is not for many thousands of processes that start and end every second.
//!
//! # Examples
//! ```no_run
//! use lock_core::{OpenMode, Registry, Store};
//!
//! let registry = Registry::default().merge([lock_etcd::BACKEND])?;
//! let store = Store::open(&registry, "etcd://10.0.0.1:2379,10.0.0.2:2379/locks/build", OpenMode::OpenOrCreate)?;
//! let lock = store.named("release")?;
//! let guard = lock.lock()?;
//! let token = guard.token();
//! // Requests to the protected resource contain the token.
//! guard.unlock()?;
//! # Ok::<(), lock_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod acquisition;
mod allocated;
mod allocation;
mod client;
mod context;
mod destroying;
mod freeing;
mod keys;
mod listing;
mod lock;
mod manager;
mod options;
mod queue;
mod random;
mod reconcile;
mod records;
mod session;
mod wait;

use lock_core::{Backend, Capacity, Generations, Labels, Names, Persistence, Reconcile, Removal};

/// The backend `etcd`.
pub const BACKEND: Backend =
    Backend::new("etcd", env!("CARGO_PKG_NAME"), "an etcd cluster: etcd://HOST:2379,HOST:2379/PREFIX", manager::open).with(
        lock_session::CLAIMS
            .with_labels(Labels::Kept)
            .with_names(Names::Supported)
            .with_generations(Generations::Counted)
            .with_reconcile(Reconcile::Supported)
            .with_capacity(Capacity::Chosen)
            .with_removal(Removal::Supported)
            .with_persistence(Persistence::Disk),
    );

lock_core::register!(BACKEND);
