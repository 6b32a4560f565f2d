use lock_core::{LockId, Result};

use crate::client::{Found, Range, Txn, compare, prefix_end};
use crate::context::Context;
use crate::keys::{id_of, numbered_end};
use crate::records::{self, OwnerRecord};

/// The number of ids whose keys are removed in one request, which delays other requests.
const IDS: u64 = 10_000;

/// The number of keys that are read at once.
const PAGE: usize = 1000;

/// Removes the store, and then its keys. The places and the owners of held locks remain until the release, for handles of open stores.
///
/// # Errors
/// [`ErrorKind::Destroyed`](lock_core::ErrorKind::Destroyed), [`ErrorKind::Replaced`](lock_core::ErrorKind::Replaced); those of a request.
pub(crate) fn destroy(context: &Context) -> Result<()> {
    let txn = Txn::new().when(context.is_this_store()).then_delete(context.store_key()).otherwise_read(context.read_store());
    let mut outcome = context.client.txn(txn)?;
    // A store that an earlier attempt has removed is gone.
    if !outcome.succeeded && !outcome.repeated {
        context.check(&outcome.read())?;
    }
    let keys = &context.keys;
    for prefix in [keys.allocations(), keys.all_freed()] {
        while let Some(first) = first(context, &prefix)? {
            let from = u64::from(first.get());
            context
                .client
                .txn(Txn::new().then_delete_between(&numbered_end(&prefix, from), &numbered_end(&prefix, from + IDS)))?;
        }
    }
    let names = keys.names();
    context.client.txn(Txn::new().then_delete_between(&names, &prefix_end(&names)).then_delete(&keys.next()))?;
    remove_reports(context)
}

/// Returns the lowest id with a key.
fn first(context: &Context, prefix: &str) -> Result<Option<LockId>> {
    let found: Found = context.client.range(Range::prefix(prefix).limit(1).keys_only())?;
    Ok(found.first().and_then(|kv| id_of(prefix, &kv.key)))
}

/// Removes the reports for next owners.
fn remove_reports(context: &Context) -> Result<()> {
    let prefix = context.keys.owners();
    let mut from = 0;
    loop {
        let found = context.client.range(Range::between(numbered_end(&prefix, from), prefix_end(&prefix)).limit(PAGE))?;
        for kv in &found.kvs {
            let Some(id) = id_of(&prefix, &kv.key) else { continue };
            from = u64::from(id.get()) + 1;
            if records::read::<OwnerRecord>(kv).is_ok_and(|owner| owner.place.is_none()) {
                let key = context.keys.owner(id);
                context.client.txn(Txn::new().when(compare::modified(&key, kv.modified)).then_delete(&key))?;
            }
        }
        if !found.more {
            return Ok(());
        }
    }
}
