//! Checks of lock words, recovery and allocation on weak memory models, by real threads under Miri.
//!
//! The [model](https://docs.rs/lock-model) has the total store order of x86. This crate covers weaker memory models: under Miri
//! (`cargo xtask weak`), a load may return an older value wherever the language allows it, and a data race on protected data is an
//! error. The checked files are those of the model. They are compiled unchanged in the module `checked`, with the standard
//! library's atomics and the system calls of lock-shm. Stand-ins replace processes, the kernel's walk of a dead thread's robust list,
//! and the table's file. A thread that dies stops in its critical section and then does the kernel's work for its own exit.
//!
//! Deaths during an acquisition, a release or an allocation are not covered here. The model covers them.
// The checked files link to items that this crate does not have.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]
// The checked files have unit tests, which belong to their own crates.
#![cfg(not(test))]

// The checked files import from these crates. This crate replaces the items that they use.
extern crate self as lock_core;
extern crate self as lock_table;

#[allow(dead_code, unreachable_pub, missing_docs, reason = "the checks do not call all of it")]
#[path = "model/checked.rs"]
mod checked;
pub mod checks;
#[allow(dead_code, reason = "the model needs more of it")]
#[path = "model/death.rs"]
mod death;
mod env;
mod member;
#[path = "model/raw_lock.rs"]
mod raw_lock;
mod sys;
mod table;

use checked::{bitmap, lock, lock_line, owner, record, recovery, robust, starvation, wait};
use death::{Acquired, Cause, Condition, Death, Proof, Recovery};
use real_core::{
    Allocation, Deadline, Error, FastAttempt, Generation, HeldBy, Holder, Label, LockId, OwnerKind, Reconciled, Result,
};

use lock_line::LockLine;
use owner::Owner;
use raw_lock::RawLock;
use table::slot::{Slot, Waiting};
use table::{layout, segment, sparse};
