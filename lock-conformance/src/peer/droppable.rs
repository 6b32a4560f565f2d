//! A store and a handle that a thread of a peer can drop.
//!
//! All other handles of a peer live as long as the process.

use lock_core::{Guard, Lock, Store};

/// A store, a handle and a guard, which commands drop one by one.
pub(super) struct Droppable {
    pub(super) guard: Option<Guard<'static>>,
    pub(super) lock: Option<Lock>,
    pub(super) store: Option<Store>,
}
