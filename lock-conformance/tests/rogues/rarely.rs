//! Rare variants: backends with a fault in one of many operations.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lock_core::{
    Acquired, Capabilities, Deadline, HeldLock, Label, LockId, Manager, OpenMode, Proof, RawLock, Reconciled, Result, StoreId,
    StoreUrl,
};

use super::Faulty;
use super::fault::{Fault, faulty};

/// A process makes one in this many operations of each kind wrong.
const INTERVAL: u32 = 50;

/// A kind of operation. A process counts each kind separately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// The creation of a handle.
    Handle,
    /// An attempt to acquire without a wait.
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

/// Whether this process uses a rare variant. A peer uses only one backend.
static IS_RARE: AtomicBool = AtomicBool::new(false);
static COUNTS: [AtomicU32; OPERATIONS] = [const { AtomicU32::new(0) }; OPERATIONS];

/// Counts an operation, and returns whether the fault applies to it.
///
/// Without a rare variant, the fault applies to all operations. In a rare variant, the pid determines which operations are wrong, so that
/// no case relies on the first or the last one.
pub(super) fn is_due(operation: Operation) -> bool {
    if !IS_RARE.load(Ordering::Relaxed) {
        return true;
    }
    let count = COUNTS[operation as usize].fetch_add(1, Ordering::Relaxed);
    count.wrapping_add(process::id()).is_multiple_of(INTERVAL)
}

/// Returns the kind of an acquisition with this deadline.
pub(super) fn acquisition(deadline: Deadline) -> Operation {
    match deadline {
        Deadline::Now => Operation::Try,
        Deadline::Never => Operation::Wait,
        Deadline::At(_) => Operation::WaitUntil,
    }
}

/// Returns the rare variant of a wrong backend.
pub(super) fn rarely<F: Fault>() -> Faulty {
    let faulty = faulty::<Rarely<F>>();
    Faulty { caught_by: F::RARELY_CAUGHT_BY, is_rare: true, caught_by_no_other: false, ..faulty }
}

/// The fault in one of [`INTERVAL`] operations of each kind in [`Fault::RARE`].
///
/// In all other operations, the fault calls [`is_due`] itself where necessary.
#[derive(Debug)]
struct Rarely<F>(PhantomData<F>);

fn is_wrong<F: Fault>(operation: Operation) -> bool {
    !F::RARE.contains(&operation) || is_due(operation)
}

impl<F: Fault> Fault for Rarely<F> {
    const NAME: &'static str = F::NAME;
    const FAULT: &'static str = F::FAULT;
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = F::CAUGHT_BY;
    const CLAIMS: Capabilities = F::CLAIMS;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        IS_RARE.store(true, Ordering::Relaxed);
        F::open(url, mode)
    }

    fn id(honest: &dyn Manager, url: &StoreUrl) -> StoreId {
        F::id(honest, url)
    }

    fn check(honest: &dyn Manager) -> Result<()> {
        F::check(honest)
    }

    fn capacity(honest: &dyn Manager) -> Option<u64> {
        F::capacity(honest)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        if is_wrong::<F>(Operation::Handle) { F::lock(honest, url, id) } else { honest.lock(id) }
    }

    fn allocate(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        if is_wrong::<F>(Operation::Allocate) { F::allocate(honest, label) } else { honest.allocate(label) }
    }

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        F::allocate_exact(honest, id, label)
    }

    fn named(honest: &dyn Manager, url: &StoreUrl, name: &Label) -> Result<LockId> {
        F::named(honest, url, name)
    }

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        F::free(honest, url, id)
    }

    fn free_all(honest: &dyn Manager, url: &StoreUrl) -> Result<u64> {
        F::free_all(honest, url)
    }

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        if is_wrong::<F>(Operation::Reconcile) { F::reconcile(honest, ids) } else { honest.reconcile(ids) }
    }

    fn held(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        if is_wrong::<F>(Operation::Held) { F::held(honest, url) } else { honest.held() }
    }

    fn break_lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        if is_wrong::<F>(Operation::Break) { F::break_lock(honest, url, id) } else { honest.break_lock(id) }
    }

    fn destroy(honest: &dyn Manager, url: &StoreUrl) -> Result<()> {
        F::destroy(honest, url)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if is_wrong::<F>(acquisition(deadline)) { F::acquire(honest, deadline) } else { honest.acquire(deadline) }
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        if is_wrong::<F>(Operation::Release) { F::release(honest, proof) } else { honest.release(proof) }
    }
}
