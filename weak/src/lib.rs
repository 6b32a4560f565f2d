//! The real code of lock words, recovery and allocation, run by threads in plain memory.
//!
//! The [model](https://docs.rs/lock-model) has the memory of x86. This crate is for the others: under Miri (`cargo xtask weak`), a load may
//! return an older value wherever the language allows that, and a data race on what a lock protects is an error. The files that are
//! checked are those of the model, compiled as they are in the module `checked`, with the standard library's atomics and the
//! system calls of lock-shm. The processes, the kernel's walk of a dead thread's robust list, and the table's file are replaced. A thread
//! that dies stops where it is inside, and then does for itself what the kernel would do.
//!
//! Not covered are deaths in the middle of a change: those are the model's.
// The checked files link to items that are not here.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]
// The checked files have unit tests, which belong to their own crates.
#![cfg(not(test))]

// The checked code imports from these crates, whose parts are in this one.
extern crate self as lock_core;
extern crate self as lock_table;

#[allow(dead_code, unreachable_pub, missing_docs, reason = "the checks do not call all of it")]
mod checked;
pub mod checks;
#[allow(dead_code, reason = "the model needs more of it")]
#[path = "../../model/src/death.rs"]
mod death;
mod env;
mod member;
mod sys;
mod table;

use checked::{bitmap, lock, lock_line, owner, record, robust, waiters};
use death::{Acquired, Cause, Condition, Death, Proof, Recovery};
use real_core::{Allocation, Deadline, Error, ErrorKind, Generation, Holder, Label, LockId, Reconciled, Result};

use lock_line::Hot;
use owner::Owner;
use table::slot::Slot;
use table::{layout, segment, sparse};

/// The plug-in side of a lock.
#[allow(dead_code, reason = "what only describes is not called")]
trait RawLock {
    fn acquire_at_once(&self) -> Option<u64>;
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;
    fn release(&self, proof: Proof) -> Result<()>;
    fn mark_consistent(&self) -> Result<()>;
    fn holder(&self) -> Result<Option<Holder>>;
    fn generation(&self) -> Option<Generation>;
}
