//! The real code of lock words, recovery and allocation, run by threads in plain memory.
//!
//! The [model](https://docs.rs/lock-model) has the memory of x86. This crate is for the others: under Miri (`cargo xtask weak`), a load may
//! return an older value wherever the language allows that, and a data race on what a lock protects is an error. The build script copies
//! the same sources as for the model. The copies have the standard library's atomics and the system calls of lock-shm; the processes, the
//! kernel's walk of a dead thread's robust list, and the table's file are replaced. A thread that dies stops where it is inside,
//! and then does for itself what the kernel would do.
//!
//! Not covered are deaths in the middle of a change: those are the model's.
#![cfg_attr(not(test), allow(dead_code, unused_imports, reason = "the tests are all that uses it"))]
// What is copied links to what is not.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]

mod planted;
pub use planted::{PLANTED, Planted};

mod process;
/// What the model's files use, which are shared with it.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}
mod sys;
mod table;
#[cfg(test)]
mod tests;

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "it is a copy")]
mod lock {
    include!(concat!(env!("OUT_DIR"), "/lock.rs"));
}
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, clippy::all, reason = "it is a copy")]
mod waiters {
    use std::sync::atomic::fence;

    include!(concat!(env!("OUT_DIR"), "/waiters.rs"));
}
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "it is a copy")]
mod robust {
    include!(concat!(env!("OUT_DIR"), "/robust.rs"));
}
#[allow(dead_code, reason = "the model needs more of it")]
#[path = "../../model/src/death.rs"]
mod death;

use death::{Acquired, Cause, Condition, Death, Proof, Recovery};
use real_core::{Allocation, Deadline, Error, ErrorKind, Generation, Holder, Label, LockId, Reconciled, Result};

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
