//! The allocation table: one mapped file that says which ids are allocated, what for, and who holds what.
//!
//! Every built-in backend uses it, and others may: a backend gives [`TableManager`] what to do with a [`Slot`], and creation,
//! validation, allocation, labels, holders, listing and recovery are done.
//!
//! # What holds at every instruction
//! - The file becomes visible when it is whole: it is made without a name and then linked to its name; the first link wins.
//! - An id is allocated when its bit is set, and that is the last step of an allocation: claim the id, write the label, publish.
//!   A killed allocator leaves a claim that counts for nothing, since its death can be proved.
//! - The file grows in segments, each as large as all before it together, and its blocks are reserved before they are touched: a
//!   full file system is an error and no SIGBUS.
//! - A process is dead when the file lock is gone that the kernel drops at its death, and nothing else says that it lives.
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
mod header;
mod identity;
mod kind;
mod layout;
mod liveness;
mod location;
mod lock_line;
mod manager;
mod open_tables;
mod opening;
mod options;
mod owner;
mod owners;
mod process;
mod procfs;
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

pub use self::file_access::{FileAccess, FileGroup, FileOwner};
pub use self::kind::Kind;
pub use self::lock_line::Hot;
pub use self::manager::{CLAIMS, TableLocks, TableManager};
pub use self::options::{Bound, IN_USE, Mode, TableOptions};
pub use self::owner::Owner;
pub use self::slot::Slot;
pub use self::table::Table;
