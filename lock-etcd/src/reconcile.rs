use std::collections::{BTreeMap, BTreeSet};

use lock_core::{ErrorKind, Label, LockId, Reconciled, Result};

use crate::allocated::AllocatedId;
use crate::allocation::{self, allocate_exact};
use crate::client::{Txn, compare};
use crate::context::Context;
use crate::freeing::free_these;
use crate::listing;
use crate::records;

/// The number of ids that are allocated in one transaction. Each needs two operations, of which etcd allows 128 by default.
const BATCH: usize = 50;

/// The number of ids that are read at once.
const PAGE: usize = 4096;

/// Allocates and frees ids, so that exactly these are allocated.
///
/// # Errors
/// [`ErrorKind::OutOfRange`] before any change; those of a request.
pub(crate) fn reconcile(context: &Context, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
    if let Some((&last, _)) = ids.last_key_value() {
        context.check_range(last)?;
    }
    context.check(&context.client.range(context.read_store())?)?;
    let mut reconciled = Reconciled::default();
    let mut allocated = BTreeSet::new();
    let mut from = 0;
    loop {
        let page = listing::allocations_from(context, from, PAGE)?;
        let Some(last) = page.last() else { break };
        from = u64::from(last.id.get()) + 1;
        allocated.extend(page.iter().map(|allocation| allocation.id));
        let superfluous: Vec<AllocatedId> = page.into_iter().filter(|allocation| !ids.contains_key(&allocation.id)).collect();
        reconciled.freed.extend(free_these(context, &superfluous)?);
    }
    let missing: Vec<_> = ids.iter().filter(|(id, _)| !allocated.contains(id)).collect();
    for batch in missing.chunks(BATCH) {
        allocate_batch(context, batch, &mut reconciled.allocated)?;
    }
    // Allocators need not look at the ids that are known to be allocated. An id that is freed meanwhile has a key of its own.
    let gap =
        (0..).zip(ids.keys()).find(|(number, id)| *number != u64::from(id.get())).map_or(ids.len() as u64, |(number, _)| number);
    allocation::advance(context, gap)?;
    Ok(reconciled)
}

/// Allocates these ids in one transaction. If one of them was allocated meanwhile, allocates them one by one.
fn allocate_batch(context: &Context, batch: &[(&LockId, &Label)], allocated: &mut Vec<LockId>) -> Result<()> {
    let mut txn = Txn::new().when(context.is_this_store());
    for (id, label) in batch {
        let key = context.keys.allocation(**id);
        txn = txn
            .when(compare::absent(&key))
            .then_put(&key, &records::write(&allocation::record(label, false)?))
            .then_delete(&context.keys.freed(**id));
    }
    let outcome = context.client.txn(txn)?;
    if outcome.succeeded {
        allocated.extend(batch.iter().map(|(id, _)| **id));
        return Ok(());
    }
    for (id, label) in batch {
        match allocate_exact(context, **id, label) {
            Ok(_) => allocated.push(**id),
            // An earlier attempt of the transaction, whose answer was lost, has allocated all of them.
            Err(error) if error.kind() == ErrorKind::AlreadyAllocated => {
                if outcome.repeated {
                    allocated.push(**id);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
