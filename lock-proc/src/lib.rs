//! Finds the owners of locks and the threads that wait for them, from `/proc`, in programs that were not changed.
//!
//! - [`futex_waiters`] finds the threads that sleep in futex(2) on a word of a file, such as a mutex in shared memory.
//! - [`file_lock_waiters`] finds the threads that sleep in fcntl(2) or flock(2) on a file, and [`file_users`] the processes that have it
//!   open, mapped or locked.
//! - [`Lives`] finds out whether a process that a store has recorded still lives.
//! - [`Thread::find`] describes a thread by its id, and [`Thread::activity`] describes its present activity.
//!
//! Nothing is acquired, delayed or changed. Each answer is true of the moment at which `/proc` was read: a thread may have been woken
//! since. The ids are those of the PID namespace of `/proc`.
//!
//! # Rights
//! Reading the memory map and the system call of another process needs the rights of ptrace(2): the same user, or root. Where the
//! security module Yama restricts ptrace (`kernel.yama.ptrace_scope`), it needs root. [`Found::unseen`] says what could not be read.
//!
//! # Examples
//! ```
//! # let file = tempfile::NamedTempFile::new()?;
//! let lock_file = lock_proc::FileId::of(file.path())?;
//! for user in lock_proc::file_users(&lock_file).found {
//!     println!("{} has it {}", user.process.command, if user.has_lock { "locked" } else { "open" });
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

mod activity;
mod clock;
mod file;
mod file_lock;
mod futex;
mod life;
mod scan;
mod state;
mod thread;

pub use self::file::FileId;
pub use self::file_lock::{FileUser, file_lock_waiters, file_users};
pub use self::futex::{FutexWaiter, futex_waiters};
pub use self::life::{Life, Lives};
pub use self::scan::{Found, Unseen};
pub use self::state::State;
pub use self::thread::Thread;
