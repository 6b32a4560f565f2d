//! What rogues have in common: honesty wherever a sin does not say otherwise.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Deadline, Generation, HeldLock, Holder, Label, LockId, Manager, OpenMode, Proof,
    RawLock, Reconciled, Result, StoreId, StoreUrl,
};

use super::Sinner;
use super::rarely::Operation;
use crate::reference;

/// The difference between a rogue and the honest backend.
pub(crate) trait Sin: Debug + Send + Sync + 'static {
    const NAME: &'static str;
    /// What it does wrong, in one sentence.
    const FAULT: &'static str;
    const CAUGHT_BY: &'static [(&'static str, &'static str)];
    const CLAIMS: Capabilities = reference::CLAIMS;
    /// Whether it passes all cases but those that catch it.
    const CAUGHT_BY_NO_OTHER: bool = false;
    /// The operations of which its rare sibling does one in many wrong.
    const RARE: &'static [Operation] = &[];
    /// The cases that catch the rare sibling.
    const RARELY_CAUGHT_BY: &'static [(&'static str, &'static str)] = Self::CAUGHT_BY;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::open(url, mode)
    }

    fn id(honest: &dyn Manager, _url: &StoreUrl) -> StoreId {
        honest.id()
    }

    fn check(honest: &dyn Manager) -> Result<()> {
        honest.check()
    }

    fn capacity(honest: &dyn Manager) -> Option<u64> {
        honest.capacity()
    }

    fn lock(honest: &dyn Manager, _url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)
    }

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        honest.allocate(label)
    }

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        honest.allocate_exact(id, label)
    }

    fn free(honest: &dyn Manager, _url: &StoreUrl, id: LockId) -> Result<()> {
        honest.free(id, None)
    }

    fn free_all(honest: &dyn Manager, _url: &StoreUrl) -> Result<u64> {
        honest.free_all()
    }

    fn reconcile(honest: &dyn Manager, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        honest.reconcile(ids)
    }

    fn held(honest: &dyn Manager, _url: &StoreUrl) -> Result<Vec<HeldLock>> {
        honest.held()
    }

    fn break_lock(honest: &dyn Manager, _url: &StoreUrl, id: LockId) -> Result<()> {
        honest.break_lock(id)
    }

    fn destroy(honest: &dyn Manager, _url: &StoreUrl) -> Result<()> {
        honest.destroy()
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        honest.acquire(deadline)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        honest.release(proof)
    }
}

/// The backend that commits this sin.
pub(super) fn sinner<S: Sin>() -> Sinner {
    let backend = Backend::new(S::NAME, "lock-conformance", "wrong on purpose", open::<S>).with(S::CLAIMS);
    Sinner { backend, fault: S::FAULT, caught_by: S::CAUGHT_BY, caught_by_no_other: S::CAUGHT_BY_NO_OTHER, is_rare: false }
}

fn open<S: Sin>(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    Ok(Arc::new(Rogue::<S> { honest: S::open(url, mode)?, url: url.clone(), sin: PhantomData }))
}

#[derive(Debug)]
struct Rogue<S> {
    honest: Arc<dyn Manager>,
    url: StoreUrl,
    sin: PhantomData<S>,
}

#[derive(Debug)]
struct RogueLock<S> {
    honest: Arc<dyn RawLock>,
    sin: PhantomData<S>,
}

impl<S: Sin> Manager for Rogue<S> {
    fn id(&self) -> StoreId {
        S::id(&*self.honest, &self.url)
    }

    fn check(&self) -> Result<()> {
        S::check(&*self.honest)
    }

    fn capacity(&self) -> Option<u64> {
        S::capacity(&*self.honest)
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(RogueLock::<S> { honest: S::lock(&*self.honest, &self.url, id)?, sin: PhantomData }))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        S::allocate(&*self.honest, label)
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        S::allocate_exact(&*self.honest, id, label)
    }

    fn free(&self, id: LockId, _: Option<Generation>) -> Result<()> {
        S::free(&*self.honest, &self.url, id)
    }

    fn free_all(&self) -> Result<u64> {
        S::free_all(&*self.honest, &self.url)
    }

    fn available(&self) -> Result<Option<u64>> {
        self.honest.available()
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.honest.allocated()
    }

    fn reconcile(&self, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        S::reconcile(&*self.honest, ids)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        S::held(&*self.honest, &self.url)
    }

    fn break_lock(&self, id: LockId) -> Result<()> {
        S::break_lock(&*self.honest, &self.url, id)
    }

    fn destroy(&self) -> Result<()> {
        S::destroy(&*self.honest, &self.url)
    }
}

impl<S: Sin> RawLock for RogueLock<S> {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        S::acquire(&*self.honest, deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        S::release(&*self.honest, proof)
    }

    fn mark_consistent(&self) -> Result<()> {
        self.honest.mark_consistent()
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
