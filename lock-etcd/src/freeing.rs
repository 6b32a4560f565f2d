//! Freeing ids. A freed id keeps its generation in a key, so that a handle on it is not stale until the id is allocated again.

use lock_core::{Error, Generation, LockId, Result};

use crate::allocated::AllocatedId;
use crate::client::{Range, Txn, compare};
use crate::context::Context;
use crate::listing;

/// The number of ids that are freed in one transaction. Each needs up to three operations, of which etcd allows 128 by default.
const BATCH: usize = 32;

/// Frees an id. If a generation is given, the id must have it.
///
/// # Errors
/// [`ErrorKind::NotAllocated`](lock_core::ErrorKind::NotAllocated), [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange),
/// [`ErrorKind::Stale`](lock_core::ErrorKind::Stale).
pub(crate) fn free(context: &Context, id: LockId, generation: Option<Generation>) -> Result<()> {
    context.check_range(id)?;
    let mut freed_before: Option<i64> = None;
    loop {
        let txn = Txn::new().then_read(context.read_store()).then_read(Range::key(context.keys.allocation(id)));
        let mut outcome = context.client.txn(txn)?;
        context.check(&outcome.read())?;
        let found = outcome.read().into_first();
        if freed_before.is_some() && found.as_ref().map(|found| found.created) != freed_before {
            // An earlier attempt, whose answer was lost, has freed it.
            return Ok(());
        }
        let found = found.ok_or_else(Error::not_allocated)?;
        if generation.is_some_and(|generation| generation.get() != found.created.unsigned_abs()) {
            return Err(Error::stale());
        }
        let allocated = AllocatedId::read(id, &found)?;
        let outcome = context.client.txn(txn_of(context, [&allocated]))?;
        if outcome.succeeded {
            return Ok(());
        }
        freed_before = outcome.repeated.then_some(found.created);
    }
}

/// Frees these ids, and returns the freed ones. An id that was freed or allocated again meanwhile is left alone.
///
/// # Errors
/// Those of a request.
pub(crate) fn free_these(context: &Context, ids: &[AllocatedId]) -> Result<Vec<LockId>> {
    let mut freed = Vec::new();
    for batch in ids.chunks(BATCH) {
        let outcome = context.client.txn(txn_of(context, batch))?;
        if outcome.succeeded {
            freed.extend(batch.iter().map(|allocated| allocated.id));
            continue;
        }
        for allocated in batch {
            match free(context, allocated.id, Some(allocated.generation())) {
                Ok(()) => freed.push(allocated.id),
                Err(error) if matches!(error.kind(), lock_core::ErrorKind::NotAllocated | lock_core::ErrorKind::Stale) => {
                    if outcome.repeated {
                        freed.push(allocated.id);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(freed)
}

/// Frees every id, and returns their number.
///
/// # Errors
/// Those of a request.
pub(crate) fn free_all(context: &Context) -> Result<u64> {
    let mut count = 0;
    let mut from = 0;
    loop {
        let page = listing::allocations_from(context, from, 1000)?;
        let Some(last) = page.last() else { return Ok(count) };
        from = u64::from(last.id.get()) + 1;
        count += free_these(context, &page)?.len() as u64;
    }
}

/// The transaction that frees these ids, if none has changed.
fn txn_of<'a>(context: &Context, ids: impl IntoIterator<Item = &'a AllocatedId>) -> Txn {
    let keys = &context.keys;
    ids.into_iter().fold(Txn::new().when(context.is_this_store()), |txn, AllocatedId { id, created, record }| {
        let allocation = keys.allocation(*id);
        let txn = txn
            .when(compare::created(&allocation, *created))
            .then_delete(&allocation)
            .then_put(&keys.freed(*id), created.to_string().as_bytes());
        if record.named { txn.then_delete(&keys.name(&record.label)) } else { txn }
    })
}
