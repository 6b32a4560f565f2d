//! The allocation table: one mapped file with the allocated ids, their labels and the owners of locks.
//!
//! All built-in backends use it, and other backends can. A backend implements [`TableLocks`], which turns a [`Slot`] of the table into
//! a lock. [`TableManager`] does the rest: creation, validation, allocation, labels, holders, listing and recovery.
//!
//! # Invariants
//! These hold at every instruction, so that a process can be killed at any of them.
//! - The file is complete when it becomes visible. It is created without a name, filled, and linked to its name. When two processes
//!   race, the first link wins.
//! - An id is allocated when its bit is set. Setting the bit is the last step of an allocation, after claiming the id and writing the
//!   label. When an allocating process is killed, its claim remains. The claim has no effect, because the death can be proven.
//! - A name is allocated in one step, like any id: the tag of the name is in the record. A thread that allocates a name claims it first.
//!   The search for a name ends at a group without a mark; the mark is set before a name is allocated beyond the group.
//! - The file grows in segments. Each segment is as large as all segments before it together. Blocks are reserved before they are
//!   accessed, so that a full file system causes an error and not a SIGBUS.
//! - A process is dead if its liveness lock is not held, and no other evidence shows that the process is alive. The liveness lock is a file
//!   lock that the kernel releases when the process dies.
//!
//! # Terms
//! - *Line*: the 64 bytes of a lock that change at each acquisition ([`LockLine`]). The *record* of an id has the facts of its allocation.
//! - *Entry*: the part of the process table that identifies one process. An [`Owner`] is a thread, given by an entry, the generation of
//!   the entry, and a thread id.
//! - *Waiter record*: a slot of the waiter table, with a thread that waits, its lock and the start of its wait.
//! - *Home*: the PID namespace of the process that created the store. A process in it is *at home*.
//!
//! # Stability
//! [`descriptor`], [`filesystem`] and [`fork`] are for any backend and follow semantic versioning. The table itself is for the backends of
//! its repository: its API may change in any release.
#![deny(unsafe_code)]

mod allocation;
mod bitmap;
mod blocks;
mod boot;
pub mod descriptor;
mod env;
mod file;
mod file_access;
mod file_id;
pub mod filesystem;
pub mod fork;
mod growth;
#[doc(hidden)]
pub mod hash;
mod header;
mod identity;
mod kind;
mod layout;
mod liveness;
mod location;
mod lock_line;
mod manager;
mod name;
mod names;
mod open_tables;
mod opening;
mod options;
mod owner;
mod owners;
mod parents;
mod process;
mod procfs;
mod raised_bound;
mod reclaiming;
mod record;
mod registration;
mod segment;
mod sharing;
mod slot;
mod sparse;
mod sys;
mod table;
mod table_file;
mod table_path;
pub mod thread;
mod touched;
mod waiters;
mod waiting;

#[doc(hidden)]
pub use self::file::create_complete;
pub use self::file_access::{FileAccess, FileGroup, FileOwner};
pub use self::identity::this_process;
pub use self::kind::Kind;
pub use self::lock_line::LockLine;
pub use self::manager::{CLAIMS, TableLocks, TableManager};
pub use self::options::{Bound, Mode, STICKY, TableOptions};
pub use self::owner::Owner;
pub use self::parents::with_parents;
pub use self::slot::{Announcement, Queue, Slot, Waiting};
#[doc(hidden)]
pub use self::sys::{coarse_time, futex};
pub use self::table::Table;
#[doc(hidden)]
pub use self::waiters::now as monotonic_time;
