//! A model checker for the locks of `lock-shm` and the allocation of `lock-table`. It visits every reachable state of a few threads.
//!
//! The checked source files are compiled unchanged, in the module `checked`. Modules of this crate replace their imports:
//! `env` has simulated atomics and small bounds, `sys` simulates the kernel (futexes, `membarrier`, and the walk of a dead thread's
//! robust list), and `table` is one small segment. Each simulated thread has its own stack and is suspended before every operation
//! that other threads can observe. The search tries each order of these steps. It also tries the death of a thread at each step, and
//! between two operations that no other thread observes.
//!
//! - **Memory** is total store order, as on x86: the stores of a thread become visible in program order, each at any later time. Atomic
//!   read-modify-write operations and system calls drain the store buffer. Weaker memory models and compiler reordering are not
//!   modelled.
//! - **PID namespaces**: a thread is *at home*, in the namespace of the store's creator, or *foreign*. Foreign threads use identity
//!   numbers in lock words and have the same thread ids as threads at home. A thread at home whose robust list is full uses its
//!   identity number too. Each thread is a process, unless the scenario states otherwise. The death of a process can be proven once the
//!   kernel has finished its exit. The end of a thread in a living process can be proven at home only.
//! - **Ends**: a thread is killed with its process, or ends while its process lives on. In the second case `lock-shm` marks its locks.
//! - **Sleeps** end by a wake-up. A sleep may reach its time limit in two cases: the limit is at most 5 ms, which a waiter chooses if
//!   a release may not wake it, or a death may have lost a wake-up. The latter is a death of a thread that had been woken, was changing a
//!   word and a list, was recovering a lock, or had its identity number in a word. Every other lost wake-up is an error.
//! - **Deaths** in a critical section are reported to each next owner until one marks the lock consistent, and not after that. No other
//!   death is reported.
//! - **States** consist of the memory, the store buffers, the sleeping and the dead threads, and a fingerprint of every value that each
//!   thread has received in its current act. No state is visited twice. If all states are visited without an error, the scenario holds
//!   within [`BOUNDS`].
//!
//! `cargo xtask model` runs every scenario. `cargo xtask model --planted` checks that each planted bug is found.
// The checked files link to items that this crate does not have.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]
// The checked files have unit tests, which belong to their own crates.
#![cfg(not(test))]

// The checked files import from these crates. This crate replaces the items that they use.
extern crate self as lock_core;
extern crate self as lock_table;

mod act;
mod bounds;
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the model does not call all of it")]
mod checked;
mod coroutine;
mod deadline;
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
mod raw_lock;
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

// Modules and types under the names that the checked files use.
use checked::{bitmap, lock, lock_line, owner, record, recovery, robust, starvation, wait};
use deadline::Deadline;
use death::{Acquired, Cause, Condition, Death, Proof, Recovery};
use lock_line::LockLine;
use owner::Owner;
use raw_lock::RawLock;
use real_core::{Allocation, Error, FastAttempt, Generation, HeldBy, Holder, Label, LockId, OwnerKind, Reconciled, Result};
use table::slot::{Slot, Waiting};
use table::{layout, segment, sparse};

pub use scenario::Scenario;
pub use scenarios::scenarios;
pub use search::{Progress, Report, Verdict};

/// The bounds of the search, besides the acts and deaths of a scenario.
pub const BOUNDS: &str = "1 poll of a held lock before the sleep (100 outside of the model); labels of 16 bytes; 6 sleeps that reach \
                          their time limit, 4 with two threads; total store order; sleepers woken in any order";
