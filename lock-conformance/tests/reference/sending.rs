//! The reference backend with guards that move between threads.
//!
//! It is a separate backend, because the wrong backends that are derived from the reference backend do not support such guards.

use std::sync::Arc;

use lock_core::{
    Acquired, Backend, Capabilities, Deadline, Holder, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, SendGuards, StoreUrl,
};

use super::lock::FileLock;
use super::manager;

pub(crate) const CLAIMS: Capabilities = super::CLAIMS.with_send_guards(SendGuards::Supported);

pub(crate) const BACKEND: Backend =
    Backend::new("sending", "lock-conformance", "locks on small files, for threads and processes", open).with(CLAIMS);

pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    manager::open_with(url, mode, |lock| Arc::new(Sending(lock)))
}

/// A lock that a thread or the process acquires.
#[derive(Debug)]
struct Sending(Arc<FileLock>);

impl RawLock for Sending {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.0.acquire(deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.0.acquire_as(OwnerKind::Process, deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.0.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.0.holder()
    }
}
