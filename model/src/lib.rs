//! A model checker for the locks of `lock-shm` and the allocation of `lock-table`: it visits every state that a few threads can reach.
//!
//! The files that are checked are compiled as they are, in the module `checked`. What they import from their own crates is
//! replaced: `env` has simulated atomics and a few small numbers, `sys` simulates the kernel (futexes, `membarrier`, and the walk of a dead
//! thread's robust list), and `table` is one small segment. Each simulated thread has its own stack and stops before
//! every operation that others can notice; the search tries each order of these steps, and the death of a thread at each place,
//! including between two that no other thread notices.
//!
//! - **Memory** is that of x86: each thread's stores become visible in their order, but later, at any time; an atomic change and a system
//!   call wait for them. Weaker processors, and what a compiler may reorder, are not modelled.
//! - **PID namespaces**: a thread is at home, or *foreign*. Foreign threads put identity numbers into lock words, and have the same thread
//!   ids as threads at home. A thread at home whose list has no room does the former, too. A thread is alone in its process, unless the
//!   scenario says otherwise, and can prove that another's process is dead once the kernel has done everything for it; that a thread of a
//!   living process has ended is seen at home only.
//! - **Ends**: a thread dies with its process, or ends in a process that lives on; then `lock-shm` marks its locks.
//! - **A sleep** ends when it is woken. It may end by its bound if it is one of a millisecond, which a waiter chooses when it may not be
//!   woken, and after a death that may cost a wake-up: of a thread that had been woken, was in the middle of a change, was recovering a
//!   lock, or had its identity number in a word. Every other lost wake-up is an error.
//! - **Deaths** inside are reported to each next owner until one marks the lock consistent, and not after that. No other death is
//!   reported.
//! - **A state** is the memory, the store buffers, the threads that sleep or are dead, and a fingerprint of every value that each
//!   thread received in its present act. A state that was visited is not visited again; when none is left, the scenario holds, within [`BOUNDS`].
//!
//! `cargo xtask model` runs every scenario, and `cargo xtask model --planted` shows that each planted bug is found.
// The checked files link to items that are not here.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]
// The checked files have unit tests, which belong to their own crates.
#![cfg(not(test))]

// The checked code imports from these crates, whose parts are in this one.
extern crate self as lock_core;
extern crate self as lock_table;

mod act;
mod bounds;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the model does not call all of it")]
mod checked;
mod coroutine;
mod death;
mod env;
mod exit;
mod final_check;
mod hash;
mod kernel;
mod machine;
mod note;
mod op;
mod oracle;
pub mod plant;
mod raw;
mod scenario;
mod scenarios;
mod search;
mod setup;
mod state;
mod step;
mod sys;
mod table;
mod thread;
mod trace;

// The names of modules and types in the checked code.
use checked::{bitmap, lock, lock_line, owner, record, robust, waiters};
use death::{Acquired, Cause, Condition, Death, Proof, Recovery};
use lock_line::Hot;
use owner::Owner;
use raw::{Deadline, RawLock};
use real_core::{Allocation, Error, ErrorKind, Generation, Holder, Label, LockId, Reconciled, Result};
use table::slot::Slot;
use table::{layout, segment, sparse};

pub use scenario::Scenario;
pub use scenarios::scenarios;
pub use search::{Progress, Report, Verdict};

/// The bounds, beside the acts and the deaths of a scenario.
pub const BOUNDS: &str = "1 poll of a held lock before the sleep (100 outside of the model); labels of 16 bytes; 6 sleeps that end by \
                          their bound, 4 with two threads; total store order; sleepers woken in any order";
