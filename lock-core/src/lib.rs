//! Numbered locks that Linux processes share: traits, guards, errors, URLs and the registry of backends.
//!
//! Programs use three types. A [`Store`] allocates numbered locks that several processes share. A [`Lock`] is one of them. A
//! [`Guard`] exists while the calling thread holds the lock, and releases it when it is dropped. A [`SendGuard`] belongs to the process
//! instead, and may move between threads. Most programs use these types through the crate `lock-any`, which opens a store by URL with the
//! backends that its cargo features enable.
//!
//! Backends implement two small, object-safe traits, [`Manager`] and [`RawLock`]. A backend crate has a `pub const BACKEND:`
//! [`Backend`] with its claims ([`Capabilities`]), and registers it with [`register!`]. This crate implements time-outs, guards,
//! recovery and ordering once for all backends. The crate `lock-table` provides an allocation table for local backends, and the
//! crate `lock-conformance` provides the tests.
//!
//! # Guarantees
//! - Mutual exclusion between all threads of all processes that open a store.
//! - An acquisition after the death of an owner succeeds, and [`Guard::recovered`] reports the death. Each next owner gets the report
//!   until one calls [`Guard::mark_consistent`].
//! - An unknown owner is never treated as a dead one.
//! - Deadlines use the monotonic clock, and a wait never ends before its deadline.
#![deny(unsafe_code)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("lock-core requires 64-bit Linux: offsets of file locks and of mapped stores have 64 bits");

mod acquire;
mod acquire_send;
mod advice;
mod backend;
mod capabilities;
mod convert;
mod deadline;
mod deadlock;
mod deadlock_policy;
mod death;
mod error;
#[cfg(test)]
mod error_tests;
mod event;
#[cfg(feature = "tracing")]
pub mod events;
mod fork;
mod guard;
mod held_by;
mod holder;
mod id;
mod label;
mod listing;
mod lock;
mod lock_all;
mod manager;
mod raw;
mod reconcile;
mod registry;
mod send_guard;
#[cfg(feature = "serde")]
mod serialize;
mod store;
mod sys;
mod text;
mod url;
mod wait_graph;
mod waiter;
mod waiting;

pub use backend::{Backend, MigrateFn, OpenFn, OpenMode};
pub use capabilities::{
    Breaking, Capabilities, Capacity, Deadlines, DeathReports, Exclusion, Fairness, Generations, Growth, GuardChecks, Holders,
    Labels, Names, Numbering, OwnerDeath, Persistence, Reconcile, Reentry, Removal, SendGuards, Sharing, Temporary, ThreadDeath,
    Tokens, Waiters,
};
pub use deadline::Deadline;
pub use deadlock::{Deadlock, DeadlockStep, Dependence, LockAddress};
pub use death::{Cause, Death, UnresolvedDeath};
pub use error::{Error, ErrorDetails, ErrorKind, Operation, Result};
pub use fork::PerProcess;
pub use guard::Guard;
pub use held_by::HeldBy;
pub use holder::Holder;
pub use id::{Generation, LockId, StoreId, Token};
pub use label::Label;
pub use lock::Lock;
pub use lock_all::{lock_all, lock_all_owned};
pub use manager::{Allocation, HeldLock, Manager, Reconciled};
pub use raw::{Acquired, Condition, FastAttempt, OwnerKind, Proof, RawLock, Recovery};
pub use reconcile::DesiredAllocation;
pub use registry::Registry;
pub use send_guard::SendGuard;
pub use store::Store;
pub use text::ParseStoreIdError;
pub use url::{Options, StoreUrl, StoreUrlBuilder};
pub use wait_graph::{GraphLock, GraphStore, GraphWait, HeldDuringWait, WaitGraph};
pub use waiter::{Waiter, Waits};
pub use waiting::{Cancellation, WaitOptions, Waiting};

#[doc(hidden)]
pub mod __private {
    pub mod fork {
        pub use crate::fork::{begun_while_forking, current, epoch, on_child, retry_across_forks};
    }
    pub use crate::registry::Registration;
    pub use crate::sys::{ForkWords, PinnedPair};
    pub use inventory;
}
