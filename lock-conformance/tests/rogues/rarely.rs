//! Backends that commit a fault once in many operations, and are honest otherwise.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lock_core::{
    Acquired, Capabilities, Deadline, HeldLock, Label, LockId, Manager, OpenMode, Proof, RawLock, Reconciled, Result, StoreId,
    StoreUrl,
};

use super::Sinner;
use super::sin::{Sin, sinner};

/// Number of operations of a kind in a process, of which one is wrong.
const INTERVAL: u32 = 50;

/// A kind of operation, which a process counts apart from the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// Making a handle.
    Handle,
    /// An attempt.
    Try,
    /// A wait without a deadline.
    Wait,
    /// A wait with a deadline.
    WaitUntil,
    Release,
    Allocate,
    Reconcile,
    Held,
    Holder,
    Break,
    Fork,
}

const OPERATIONS: usize = Operation::Fork as usize + 1;

/// Whether this process uses a backend that is wrong rarely. A peer uses one backend only.
static IS_RARE: AtomicBool = AtomicBool::new(false);
static COUNTS: [AtomicU32; OPERATIONS] = [const { AtomicU32::new(0) }; OPERATIONS];

/// Counts an operation, and returns whether it is one of the wrong ones. All are, unless the backend is wrong rarely.
///
/// The pid decides which operations these are, so that no case relies on the first or the last one.
pub(super) fn is_due(operation: Operation) -> bool {
    if !IS_RARE.load(Ordering::Relaxed) {
        return true;
    }
    let count = COUNTS[operation as usize].fetch_add(1, Ordering::Relaxed);
    count.wrapping_add(process::id()).is_multiple_of(INTERVAL)
}

/// The operation that an acquisition with this deadline is.
pub(super) fn acquisition(deadline: Deadline) -> Operation {
    match deadline {
        Deadline::Now => Operation::Try,
        Deadline::Never => Operation::Wait,
        Deadline::At(_) => Operation::WaitUntil,
    }
}

/// The sibling of a wrong backend that is wrong once in [`INTERVAL`] operations.
pub(super) fn rarely<S: Sin>() -> Sinner {
    let sinner = sinner::<Rarely<S>>();
    Sinner { caught_by: S::RARELY_CAUGHT_BY, is_rare: true, caught_by_no_other: false, ..sinner }
}

/// Commits the fault in one of [`INTERVAL`] operations of each kind in [`Sin::RARE`]. In its other operations, the backend consults
/// [`is_due`] itself.
#[derive(Debug)]
struct Rarely<S>(PhantomData<S>);

fn is_wrong<S: Sin>(operation: Operation) -> bool {
    !S::RARE.contains(&operation) || is_due(operation)
}

impl<S: Sin> Sin for Rarely<S> {
    const NAME: &'static str = S::NAME;
    const FAULT: &'static str = S::FAULT;
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = S::CAUGHT_BY;
    const CLAIMS: Capabilities = S::CLAIMS;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        IS_RARE.store(true, Ordering::Relaxed);
        S::open(url, mode)
    }

    fn id(honest: &dyn Manager, url: &StoreUrl) -> StoreId {
        S::id(honest, url)
    }

    fn check(honest: &dyn Manager) -> Result<()> {
        S::check(honest)
    }

    fn capacity(honest: &dyn Manager) -> Option<u64> {
        S::capacity(honest)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        if is_wrong::<S>(Operation::Handle) { S::lock(honest, url, id) } else { honest.lock(id) }
    }

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        if is_wrong::<S>(Operation::Allocate) { S::allocate(honest, label) } else { honest.allocate(label) }
    }

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        S::allocate_exact(honest, id, label)
    }

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        S::free(honest, url, id)
    }

    fn free_all(honest: &dyn Manager, url: &StoreUrl) -> Result<u64> {
        S::free_all(honest, url)
    }

    fn reconcile(honest: &dyn Manager, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        if is_wrong::<S>(Operation::Reconcile) { S::reconcile(honest, ids) } else { honest.reconcile(ids) }
    }

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        if is_wrong::<S>(Operation::Held) { S::held(honest, url) } else { honest.held() }
    }

    fn break_lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        if is_wrong::<S>(Operation::Break) { S::break_lock(honest, url, id) } else { honest.break_lock(id) }
    }

    fn destroy(honest: &dyn Manager, url: &StoreUrl) -> Result<()> {
        S::destroy(honest, url)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if is_wrong::<S>(acquisition(deadline)) { S::acquire(honest, deadline) } else { honest.acquire(deadline) }
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        if is_wrong::<S>(Operation::Release) { S::release(honest, proof) } else { honest.release(proof) }
    }
}
