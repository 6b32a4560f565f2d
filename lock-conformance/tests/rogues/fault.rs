//! The trait for faults, and the backend that delegates to an honest one wherever a fault does not override it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Deadline, Generation, HeldLock, Holder, Label, LockId, Manager, OpenMode,
    OwnerKind, Proof, RawLock, Reconciled, Result, StoreId, StoreUrl, Waits,
};

use super::Faulty;
use super::rarely::Operation;
use crate::reference;

/// The difference between a wrong backend and an honest one.
pub(crate) trait Fault: Debug + Send + Sync + UnwindSafe + RefUnwindSafe + 'static {
    const NAME: &'static str;
    /// The fault, in one sentence.
    const FAULT: &'static str;
    /// The cases that catch the fault, each with words of the failure message.
    const CAUGHT_BY: &'static [(&'static str, &'static str)];
    const CLAIMS: Capabilities = reference::CLAIMS;
    /// Whether the backend passes all cases except those in `CAUGHT_BY`.
    const CAUGHT_BY_NO_OTHER: bool = false;
    /// The kinds of operations in which the rare variant has the fault.
    const RARE: &'static [Operation] = &[];
    /// The cases that catch the rare variant.
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

    fn token_base(honest: &dyn Manager) -> u64 {
        honest.token_base()
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

    fn named(honest: &dyn Manager, _url: &StoreUrl, name: &Label) -> Result<LockId> {
        Ok(honest.named(name)?.0)
    }

    fn free(honest: &dyn Manager, _url: &StoreUrl, id: LockId) -> Result<()> {
        honest.free(id, None)
    }

    fn free_all(honest: &dyn Manager, _url: &StoreUrl) -> Result<u64> {
        honest.free_all()
    }

    fn allocation(honest: &dyn Manager, id: LockId) -> Result<Option<Allocation>> {
        honest.allocation(id)
    }

    fn allocated_from(honest: &dyn Manager, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        honest.allocated_from(from, limit)
    }

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        honest.reconcile(ids)
    }

    fn held(honest: &dyn Manager, _url: &StoreUrl) -> Result<Vec<HeldLock>> {
        honest.held()
    }

    fn waiting(honest: &dyn Manager, _url: &StoreUrl) -> Result<Waits> {
        honest.waiting()
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

    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        honest.acquire_for_process(deadline)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        honest.release(proof)
    }

    fn check_guard(honest: &dyn RawLock, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        honest.check(owner, token)
    }

    fn valid_for(_: &dyn RawLock) -> Result<Option<Duration>> {
        Ok(None)
    }

    fn on_lost(honest: &dyn RawLock, owner: OwnerKind, call: Box<dyn FnOnce() + Send>) -> Result<()> {
        honest.on_lost(owner, None, call)
    }

    fn mark_consistent(honest: &dyn RawLock, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        honest.mark_consistent(owner, token)
    }

    fn holder(honest: &dyn RawLock) -> Result<Option<Holder>> {
        honest.holder()
    }

    fn waiters(honest: &dyn RawLock) -> Option<u32> {
        honest.waiters()
    }
}

/// Returns the backend with this fault.
pub(super) fn faulty<F: Fault>() -> Faulty {
    let backend = Backend::new(F::NAME, "lock-conformance", "wrong on purpose", open::<F>).with(F::CLAIMS);
    Faulty { backend, fault: F::FAULT, caught_by: F::CAUGHT_BY, caught_by_no_other: F::CAUGHT_BY_NO_OTHER, is_rare: false }
}

fn open<F: Fault>(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    Ok(Arc::new(FaultyManager::<F> { honest: F::open(url, mode)?, url: url.clone(), fault: PhantomData }))
}

#[derive(Debug)]
struct FaultyManager<F> {
    honest: Arc<dyn Manager>,
    url: StoreUrl,
    fault: PhantomData<F>,
}

#[derive(Debug)]
struct FaultyLock<F> {
    honest: Arc<dyn RawLock>,
    fault: PhantomData<F>,
}

impl<F: Fault> Manager for FaultyManager<F> {
    fn id(&self) -> StoreId {
        F::id(&*self.honest, &self.url)
    }

    fn check(&self) -> Result<()> {
        F::check(&*self.honest)
    }

    fn capacity(&self) -> Option<u64> {
        F::capacity(&*self.honest)
    }

    fn token_base(&self) -> u64 {
        F::token_base(&*self.honest)
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(FaultyLock::<F> { honest: F::lock(&*self.honest, &self.url, id)?, fault: PhantomData }))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        F::allocate(&*self.honest, label)
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        F::allocate_exact(&*self.honest, id, label)
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        Ok((F::named(&*self.honest, &self.url, name)?, None))
    }

    fn free(&self, id: LockId, _: Option<Generation>) -> Result<()> {
        F::free(&*self.honest, &self.url, id)
    }

    fn free_all(&self) -> Result<u64> {
        F::free_all(&*self.honest, &self.url)
    }

    fn available(&self) -> Result<Option<u64>> {
        self.honest.available()
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.honest.allocated()
    }

    fn allocation(&self, id: LockId) -> Result<Option<Allocation>> {
        F::allocation(&*self.honest, id)
    }

    fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        F::allocated_from(&*self.honest, from, limit)
    }

    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        F::reconcile(&*self.honest, ids)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        F::held(&*self.honest, &self.url)
    }

    fn waiting(&self) -> Result<Waits> {
        F::waiting(&*self.honest, &self.url)
    }

    fn break_lock(&self, id: LockId) -> Result<()> {
        F::break_lock(&*self.honest, &self.url, id)
    }

    fn destroy(&self) -> Result<()> {
        F::destroy(&*self.honest, &self.url)
    }
}

impl<F: Fault> RawLock for FaultyLock<F> {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        F::acquire(&*self.honest, deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        F::acquire_for_process(&*self.honest, deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        F::release(&*self.honest, proof)
    }

    fn check(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        F::check_guard(&*self.honest, owner, token)
    }

    fn valid_for(&self, _: OwnerKind, _: Option<u64>) -> Result<Option<Duration>> {
        F::valid_for(&*self.honest)
    }

    fn on_lost(&self, owner: OwnerKind, _: Option<u64>, call: Box<dyn FnOnce() + Send>) -> Result<()> {
        F::on_lost(&*self.honest, owner, call)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        F::mark_consistent(&*self.honest, owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        F::holder(&*self.honest)
    }

    fn waiters(&self) -> Option<u32> {
        F::waiters(&*self.honest)
    }
}
