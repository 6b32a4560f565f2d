//! Lists of allocated ids and held locks, page by page.
//!
//! A server walks over all keys of a range, also if it returns only the first ones. So a list is read in ranges of few ids.

use std::collections::BTreeMap;

use lock_core::{Allocation, HeldLock, LockId, Result};

use crate::allocated::AllocatedId;
use crate::client::{Found, KeyValue, Range, Txn, prefix_end};
use crate::context::Context;
use crate::keys::{id_of, numbered_end};
use crate::queue;
use crate::records::{self, OwnerRecord};

/// The number of ids of a range. The gateway refuses answers of more than 4 MiB.
const SMALLEST: u64 = 1024;
const LARGEST: u64 = 4096;
/// The number of keys of a page of places in queues.
const PLACES: usize = 4096;

/// Reads the records of at least `limit` allocated ids from `from` on, or of all.
///
/// # Errors
/// Those of a request.
pub(crate) fn allocations_from(context: &Context, from: u64, limit: usize) -> Result<Vec<AllocatedId>> {
    let prefix = context.keys.allocations();
    let mut all = Vec::new();
    numbered_from(context, &prefix, from, limit, |id, kv| {
        all.push(AllocatedId::read(id, &kv)?);
        Ok(())
    })?;
    Ok(all)
}

/// Calls a function with at least `limit` keys of ids from `from` on, or with all.
pub(crate) fn numbered_from(
    context: &Context,
    prefix: &str,
    mut from: u64,
    limit: usize,
    mut call: impl FnMut(LockId, KeyValue) -> Result<()>,
) -> Result<()> {
    let size = (limit as u64).clamp(SMALLEST, LARGEST);
    let mut count = 0;
    while from < context.limit() && count < limit.max(1) {
        let end = (from + size).min(context.limit());
        let page = read(context, Range::between(numbered_end(prefix, from), numbered_end(prefix, end)))?;
        from = end;
        if page.kvs.is_empty() {
            // Finds the next key, however far it is.
            let rest = Range::between(numbered_end(prefix, from), prefix_end(prefix)).limit(1).keys_only();
            let Some(id) = read(context, rest)?.first().and_then(|kv| id_of(prefix, &kv.key)) else { return Ok(()) };
            from = id.get().into();
        }
        for kv in page.kvs {
            if let Some(id) = id_of(prefix, &kv.key) {
                call(id, kv)?;
                count += 1;
            }
        }
    }
    Ok(())
}

/// Reads keys, and checks that the store is still there.
fn read(context: &Context, range: Range) -> Result<Found> {
    let mut outcome = context.client.txn(Txn::new().then_read(context.read_store()).then_read(range))?;
    context.check(&outcome.read())?;
    Ok(outcome.read())
}

/// Returns held locks from `from` on. The result is empty only if there are none.
///
/// # Errors
/// Those of a request.
pub(crate) fn held_from(context: &Context, mut from: u64) -> Result<Vec<HeldLock>> {
    let (queues, owners) = (context.keys.queues(), context.keys.owners());
    while from < LockId::LIMIT {
        let places = Range::between(numbered_end(&queues, from), prefix_end(&queues)).limit(PLACES);
        let places = context.client.range(places)?;
        let revision = places.revision();
        let mut by_id: BTreeMap<LockId, Vec<KeyValue>> = BTreeMap::new();
        for place in places.kvs {
            if let Some(id) = id_of(&queues, &place.key) {
                by_id.entry(id).or_default().push(place);
            }
        }
        let Some((&last, _)) = by_id.last_key_value() else { return Ok(Vec::new()) };
        if places.more {
            // The queue of the last lock may be incomplete.
            let complete = match by_id.len() {
                1 => context.client.range(Range::prefix(&context.keys.queue(last)).at(revision))?.kvs,
                _ => Vec::new(),
            };
            by_id.insert(last, complete);
        }
        by_id.retain(|_, places| !places.is_empty());
        let Some((&last, _)) = by_id.last_key_value() else { return Ok(Vec::new()) };
        let records = Range::between(numbered_end(&owners, from), numbered_end(&owners, u64::from(last.get()) + 1)).at(revision);
        let mut records: BTreeMap<LockId, OwnerRecord> = context
            .client
            .range(records)?
            .kvs
            .iter()
            .filter_map(|kv| Some((id_of(&owners, &kv.key)?, records::read(kv).ok()?)))
            .collect();
        let held: Vec<_> = by_id.iter().filter_map(|(id, places)| held(context, *id, places, records.remove(id))).collect();
        if !held.is_empty() {
            return Ok(held);
        }
        from = u64::from(last.get()) + 1;
    }
    Ok(Vec::new())
}

/// Returns the held lock with these places in its queue. Returns `None` if it is being handed over.
fn held(context: &Context, id: LockId, places: &[KeyValue], owner: Option<OwnerRecord>) -> Option<HeldLock> {
    let queue = context.keys.queue(id);
    let is_held = owner.as_ref().is_some_and(|owner| places.iter().any(|place| queue::is_place(place, &queue, owner)));
    // A key without a lease blocks the lock as an owner does.
    let is_blocked = places.iter().any(|place| !queue::is_ours(place));
    if !is_held && !is_blocked {
        return None;
    }
    let waiters = queue::waiters(places, &queue, owner.as_ref()).saturating_sub(u32::from(!is_held));
    let mut held = HeldLock::new(id, owner.filter(|_| is_held).and_then(|owner| owner.holder));
    held.waiters = Some(waiters);
    Some(held)
}

/// Reads the allocation of an id.
///
/// # Errors
/// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange); those of a request.
pub(crate) fn allocation_of(context: &Context, id: LockId) -> Result<Option<Allocation>> {
    context.check_range(id)?;
    let txn = Txn::new().then_read(context.read_store()).then_read(Range::key(context.keys.allocation(id)));
    let mut outcome = context.client.txn(txn)?;
    context.check(&outcome.read())?;
    let Some(found) = outcome.read().into_first() else { return Ok(None) };
    Ok(Some(AllocatedId::read(id, &found)?.into_allocation()))
}
