//! Locks on a PostgreSQL server: the backend `postgres`.
//!
//! Numbered locks between the processes of several machines that use one database. The server needs no extension.
//!
//! # Store URLs
//! `postgres://USER@HOST:PORT/DATABASE?pool=NAME` is the store `NAME` in a database. Without a host, the server is that of the Unix socket
//! in `/run/postgresql`; a host that starts with a slash is another directory of sockets. Without a user it is the user of the process,
//! and without a database the one with the user's name. The options are:
//!
//! - `pool=NAME`: the name of the store in the database, `default` if it is omitted;
//! - `capacity=N` or `capacity=unbounded`: the number of locks, 1,048,576 by default;
//! - `ttl=10s`: the server ends a session, and frees its locks, this long after the last sign of life; at least 1 s;
//! - `margin=2s`: how long before that a process stops relying on its locks, a fifth of `ttl` by default;
//! - `timeout=3s`: the time limit of a statement;
//! - `max-held=1000`: the maximum number of locks that a process holds at the same time;
//! - `host=/path` or `host=NAME`: the host, for a URL whose host is empty;
//! - `passfile=PATH`: the password file;
//! - `sslmode=verify-full` or `sslmode=disable`, `sslrootcert=PATH`: see below.
//!
//! # Passwords and encryption
//! A URL never contains a password. It is the value of the variable `PGPASSWORD`, or that of a line in a password file, which only its
//! owner may read: the option `passfile`, else the variable `PGPASSFILE`, else `~/.pgpass`.
//!
//! Connections to another machine are encrypted, and the server's certificate is checked with its name, by the feature `tls` of this
//! crate. Without the feature, such a URL is refused, unless it has `sslmode=disable`. Connections to `localhost` and to a Unix socket are
//! not encrypted, unless the URL has `sslmode=verify-full`. The trusted authorities are those of the system, or those in the file of
//! `sslrootcert`.
//!
//! # Preparing a database
//! Creating a store creates the schema `lock_store`, if the user has the right to create a schema. Otherwise an administrator calls
//! [`migrate`] once (`lockctl migrate URL`) and grants these rights:
//!
//! ```sql
//! grant usage on schema lock_store to web;
//! grant select, insert, update, delete on all tables in schema lock_store to web;
//! grant usage on all sequences in schema lock_store to web;
//! ```
//!
//! The server is PostgreSQL 14 or newer. A standby, a server that only resembles PostgreSQL, and a pooler between the process and the server
//! are refused when the store is opened: a pooler may give a session to another client together with its locks.
//!
//! # Locking
//! A process has one session for a store, which is a connection. All its threads use it. A lock is held by an advisory lock of the session,
//! which ends with it, and by a row that outlives the session and names the owner. So the next owner gets a report of a death, with
//! the cause [`Cause::SessionEnded`](lock_core::Cause::SessionEnded).
//!
//! The server ends a session that is silent for `ttl` (`idle_session_timeout`), and the process stops relying on it `margin` earlier; see
//! [`lock_session`]. So a process that is stopped or cut off loses its locks, and learns of it before another owner can come. The token of a
//! guard is a fencing token, which a protected resource should compare.
//!
//! A program may close descriptors that it did not open. A thread with a descriptor table of its own then goes on with the connection of the
//! session.
//!
//! # Waiting
//! Waiters queue in the order in which they came, and no newcomer overtakes them. A release notifies the first one (`NOTIFY`). A session
//! with waiters also asks every 20 ms whether an owner or an earlier waiter has died, every 100 ms if none of its waiters is the first one.
//! No statement waits for a lock, so that waiting keeps no transaction open and does not delay `VACUUM` or `CREATE INDEX CONCURRENTLY`.
//!
//! A waiter whose process is stopped keeps its place until its session ends.
//!
//! # Cost
//! Acquiring a free lock and releasing it are one statement each, an update of one row of an unlogged table. Most of the time is that of two
//! such updates, with two round trips. Other operations are one statement, too, except [`Store::named`](lock_core::Store::named) with two,
//! the first acquisition of a lock and that of a lock that turns out to be held, with two, and waits. A process has up to two connections for
//! a store: the session, and one for allocating and listing. Each lock that is held takes an entry in the server's lock table; raise
//! `max_locks_per_transaction` before `max-held`.
//!
//! # Crashes and fail-over
//! - Allocations are logged like any data. Records of owners are not, and a crash of the server empties them. Then each lock that may have
//!   been used before is reported to its next owner with an unknown previous owner: rather too many reports than too few.
//! - A crash, a restart and a fail-over end all sessions. A standby that is promoted while the old primary still runs gives locks out a second
//!   time; only tokens protect from that. Tokens grow across crashes, and across a fail-over as far as the clock of the new primary is not
//!   behind by more than the replication.
//! - If the answer to an allocation is lost, the id may be allocated. Its label and its allocator name the caller.
//!
//! # Limitations
//! - A process that opens a store several times by the same URL has one session. By another URL it has another one, and a thread that
//!   holds a lock is not refused it by the other handle, but waits.
//! - A process that is killed may have sent a statement that the server executes afterwards.
//! - Advisory locks of the whole database share one space. Those of this backend have two keys of which the first is 1,279,983,616 or more. A
//!   stranger that has such a lock makes the lock busy.
//! - A lock that was used once keeps a row, until the store is destroyed or the server crashes.
//!
//! # Examples
//! ```no_run
//! use lock_core::{OpenMode, Registry, Store};
//!
//! let registry = Registry::default().merge([lock_postgres::BACKEND])?;
//! let store = Store::open(&registry, "postgres://web@db1/shop?pool=orders", OpenMode::OpenOrCreate)?;
//! let lock = store.named("nightly report")?;
//! let guard = lock.lock()?;
//! assert!(guard.valid_for()?.is_some());
//! # Ok::<(), lock_core::Error>(())
//! ```
#![forbid(unsafe_code)]

mod connection;
mod connections;
mod keeper;
mod lock;
mod manager;
mod options;
mod password;
mod pool;
mod records;
mod schema;
mod server;
mod session;
mod socket;
mod sqlstate;
mod statement;
mod tls;
mod transfer;
mod wait;

use lock_core::{Backend, Capacity, Generations, Labels, Names, Persistence, Reconcile, Removal};

pub use schema::migrate;

/// The backend `postgres`.
pub const BACKEND: Backend = Backend::new(
    "postgres",
    env!("CARGO_PKG_NAME"),
    "locks on a PostgreSQL server: postgres://USER@HOST:PORT/DATABASE?pool=NAME",
    manager::open,
)
.with_migration(migrate)
.with(
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
