//! Numbered locks that Linux processes share: traits, guards, errors, URLs, and the registry of backends.
//!
//! A [`Store`] hands out numbered locks that several processes share; a [`Lock`] is one of them, and a [`Guard`] is the proof that
//! the calling thread holds it. Those are what programs use, most of them through the crate `lock-any`, which opens a store by
//! URL with the backends that its cargo features name.
//!
//! A backend is the other side. It implements [`Manager`] and [`RawLock`], which are small and object-safe, has a
//! `pub const BACKEND:` [`Backend`] that says what it claims ([`Capabilities`]), and registers it with [`register!`]. Time-outs,
//! guards, recovery and ordering are written here, once, for all backends. The crate `lock-table` has an allocation table for local
//! backends, and the crate `lock-conformance` has the tests.
//!
//! # What is promised
//! - Mutual exclusion between all threads of all processes that open a store.
//! - The death of an owner is success with information ([`Guard::recovered`]): never an error, and reported until it was dealt with.
//! - That an owner is unknown never means that it is dead.
//! - Deadlines are on the monotonic clock and never early.
#![deny(unsafe_code)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("lock-core is for 64-bit Linux: offsets of file locks and mapped stores need 64 bits");

mod acquire;
mod advice;
mod backend;
mod capabilities;
mod deadline;
mod death;
mod error;
#[cfg(test)]
mod error_tests;
mod fork;
mod guard;
mod holder;
mod id;
mod label;
mod lock;
mod lock_all;
mod manager;
mod raw;
mod registry;
mod store;
mod sys;
mod url;

pub use backend::{Backend, OpenFn, OpenMode};
pub use capabilities::{
    Breaking, Capabilities, Capacity, Deadlines, DeathReports, Generations, Holders, Labels, Numbering, OwnerDeath, Persistence,
    Reconcile, Reentry, Removal, Sharing, ThreadDeath, Tokens, Waiters,
};
pub use deadline::Deadline;
pub use death::{Cause, Death};
pub use error::{Error, ErrorKind, Operation, Result};
pub use fork::PerProcess;
pub use guard::Guard;
pub use holder::Holder;
pub use id::{Generation, LockId, StoreId};
pub use label::Label;
pub use lock::Lock;
pub use lock_all::lock_all;
pub use manager::{Allocation, HeldLock, Manager, Reconciled};
pub use raw::{Acquired, Condition, Proof, RawLock, Recovery};
pub use registry::Registry;
pub use store::Store;
pub use url::{Options, StoreUrl};

#[doc(hidden)]
pub mod __private {
    pub mod fork {
        pub use crate::fork::{begun_while_forking, current, epoch, on_child, undisturbed};
    }
    pub use crate::registry::Registration;
    pub use crate::sys::{ForkWords, Pinned};
    pub use inventory;
}
