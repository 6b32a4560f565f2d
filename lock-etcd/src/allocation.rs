//! Allocation of ids.
//!
//! An id is allocated if its record exists. A freed id has a key of its own as long as it is not allocated, and all ids from `next` on are
//! free unless they are allocated. So an allocator reads a few candidates, and allocates one of them in a transaction which compares that
//! it is still free. Allocators that meet choose their next candidate at random, so that many of them do not wait for each other.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use lock_core::{Error, Generation, Label, LockId, Result};

use crate::client::{Found, Outcome, Range, Txn, compare};
use crate::context::Context;
use crate::keys::{id_of, numbered_end};
use crate::random;
use crate::records::{self, AllocationRecord};

/// The number of ids from a random one on, among which a freed one is looked for first. A server walks over all keys of a range, so that
/// the whole range is read only if this part of it is empty.
const WINDOW: u64 = 32;

/// The number of candidates that are read.
const CANDIDATES: usize = 16;

/// The number of ids from `next` on, of which the allocated ones are read, at first and at most.
const FRESH: u64 = 64;
const MOST_FRESH: u64 = 4096;

/// An allocator of a store.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    /// The value of `next` that was read last. It only grows.
    next: AtomicU64,
}

/// An allocated id, with its generation.
pub(crate) type Allocated = (LockId, Generation);

/// A free id.
struct Candidate {
    id: LockId,
    /// The revision of the key of a freed id.
    freed: Option<i64>,
    /// The change of `next`: the revision of its key, and the new value.
    next: Option<(i64, u64)>,
}

/// What an allocator has read.
struct Free {
    freed: Vec<(LockId, i64)>,
    /// Ids that were never freed.
    fresh: Vec<LockId>,
    next: u64,
    /// The revision of the key of `next`.
    next_modified: i64,
    /// The first id beyond those that were looked at.
    end: u64,
    /// True if all freed ids were read, and none beyond `end` is in range.
    is_all: bool,
}

impl Allocator {
    /// Allocates a free id.
    ///
    /// # Errors
    /// [`ErrorKind::Exhausted`](lock_core::ErrorKind::Exhausted), [`ErrorKind::Destroyed`](lock_core::ErrorKind::Destroyed),
    /// [`ErrorKind::Replaced`](lock_core::ErrorKind::Replaced).
    pub(crate) fn allocate(&self, context: &Context, label: &Label) -> Result<Allocated> {
        let record = record(label, false)?;
        let value = records::write(&record);
        let mut failures = 0;
        loop {
            let (free, _) = self.read(context, None)?;
            let Some(candidate) = free.choose(failures)? else {
                free.check_exhausted(context)?;
                continue;
            };
            let txn = candidate.txn(context, &value).otherwise_read(context.read_store());
            let mut outcome = context.client.txn(txn.otherwise_read(Range::key(context.keys.allocation(candidate.id))))?;
            if outcome.succeeded {
                return Ok((candidate.id, Generation::new(outcome.revision.unsigned_abs())));
            }
            context.check(&outcome.read())?;
            if let Some(generation) = own(&mut outcome, &value) {
                return Ok((candidate.id, generation));
            }
            failures += 1;
        }
    }

    /// Returns the id with this name, which is allocated if there is none.
    ///
    /// # Errors
    /// As [`Allocator::allocate`].
    pub(crate) fn named(&self, context: &Context, name: &Label) -> Result<Allocated> {
        let record = record(name, true)?;
        let (key, value) = (context.keys.name(name), records::write(&record));
        let mut failures = 0;
        loop {
            let (free, found) = self.read(context, Some(&key))?;
            if let Some(found) = named(&found)? {
                return Ok(found);
            }
            let Some(candidate) = free.choose(failures)? else {
                free.check_exhausted(context)?;
                continue;
            };
            let txn = candidate
                .txn(context, &value)
                .when(compare::absent(&key))
                .then_put(&key, format!("{:08x}", candidate.id.get()).as_bytes())
                .otherwise_read(context.read_store())
                .otherwise_read(Range::key(&key));
            let mut outcome = context.client.txn(txn)?;
            if outcome.succeeded {
                return Ok((candidate.id, Generation::new(outcome.revision.unsigned_abs())));
            }
            context.check(&outcome.read())?;
            if let Some(found) = named(&outcome.read())? {
                return Ok(found);
            }
            failures += 1;
        }
    }

    /// Reads free ids, and another key.
    fn read(&self, context: &Context, other: Option<&str>) -> Result<(Free, Found)> {
        let keys = &context.keys;
        let (freed, allocations) = (keys.all_freed(), keys.allocations());
        let mut size = FRESH;
        loop {
            let known = self.next.load(Relaxed);
            let start = random::below(known.saturating_sub(WINDOW) + 1)?;
            let (from, to) = (numbered_end(&freed, start), numbered_end(&freed, start + WINDOW));
            let fresh = Range::between(numbered_end(&allocations, known), numbered_end(&allocations, known + size)).keys_only();
            let mut txn = Txn::new()
                .when(compare::some_between(&from, &to))
                .then_read(Range::between(from, to).limit(CANDIDATES).keys_only())
                .otherwise_read(Range::prefix(&freed).limit(CANDIDATES).keys_only());
            let others = [context.read_store(), Range::key(keys.next()), fresh];
            for range in others.into_iter().chain(other.map(Range::key)) {
                txn = txn.then_read(range.clone()).otherwise_read(range);
            }
            let mut outcome = context.client.txn(txn)?;
            let [found, store, next, fresh, other] = [(); 5].map(|()| outcome.read());
            context.check(&store)?;
            let next_modified = next.first().map_or(0, |next| next.modified);
            let next = read_next(&next)?;
            self.next.fetch_max(next, Relaxed);
            let end = (known.max(next) + size).min(context.limit());
            let taken: Vec<_> = fresh.kvs.iter().filter_map(|kv| id_of(&allocations, &kv.key)).collect();
            let fresh = match next > known {
                // The range that was read begins below it. The id is probably free.
                true => ids(next, end.min(next + 1), &[]),
                false => ids(known, end, &taken),
            };
            if fresh.is_empty() && found.kvs.is_empty() && end < context.limit() {
                // All of them are allocated. The next ones are looked at.
                self.next.fetch_max(end, Relaxed);
                size = (size * 4).min(MOST_FRESH);
                continue;
            }
            let is_all = !outcome.succeeded && end == context.limit();
            let freed = found.kvs.iter().filter_map(|kv| Some((id_of(&freed, &kv.key)?, kv.modified))).collect();
            return Ok((Free { freed, fresh, next, next_modified, end, is_all }, other));
        }
    }
}

fn ids(from: u64, end: u64, taken: &[LockId]) -> Vec<LockId> {
    let ids = (from..end).filter_map(|id| u32::try_from(id).ok().map(LockId::new));
    ids.filter(|id| taken.binary_search(id).is_err()).collect()
}

impl Free {
    /// Chooses the lowest candidate, and after failures a random one. Returns `None` if there is none.
    fn choose(&self, failures: u32) -> Result<Option<Candidate>> {
        if let Some(&(id, modified)) = self.freed.get(Self::index(self.freed.len(), failures)?) {
            return Ok(Some(Candidate { id, freed: Some(modified), next: None }));
        }
        let index = Self::index(self.fresh.len(), failures)?;
        let Some(&id) = self.fresh.get(index) else { return Ok(None) };
        // Only the allocation of the lowest one increases `next`, so that others do not wait for each other.
        let next = (index == 0).then(|| (self.next_modified, u64::from(id.get()) + 1));
        Ok(Some(Candidate { id, freed: None, next }))
    }

    fn index(count: usize, failures: u32) -> Result<usize> {
        if failures == 0 {
            return Ok(0);
        }
        // More allocators that meet have more candidates.
        let range = count.min(4 << failures.min(8));
        Ok(usize::try_from(random::below(range as u64)?).unwrap_or_default())
    }

    /// # Errors
    /// [`ErrorKind::Exhausted`](lock_core::ErrorKind::Exhausted) if no id is free.
    fn check_exhausted(&self, context: &Context) -> Result<()> {
        debug_assert!(self.end <= context.limit() && self.next <= context.limit());
        if self.is_all { Err(Error::exhausted(context.limit(), context.limit())) } else { Ok(()) }
    }
}

impl Candidate {
    /// The transaction that allocates the id with this record, if it is free.
    fn txn(&self, context: &Context, record: &[u8]) -> Txn {
        let keys = &context.keys;
        let (allocation, freed) = (keys.allocation(self.id), keys.freed(self.id));
        let txn = Txn::new()
            .when(context.is_this_store())
            .when(compare::absent(&allocation))
            .when(compare::modified(&freed, self.freed.unwrap_or_default()))
            .then_put(&allocation, record);
        let txn = if self.freed.is_some() { txn.then_delete(&freed) } else { txn };
        match self.next {
            Some((modified, next)) => {
                txn.when(compare::modified(&keys.next(), modified)).then_put(&keys.next(), format!("{next:x}").as_bytes())
            }
            None => txn,
        }
    }
}

/// Increases `next` to this value, if all lower ids are allocated.
///
/// # Errors
/// Those of a request.
pub(crate) fn advance(context: &Context, next: u64) -> Result<()> {
    let key = context.keys.next();
    let found = context.client.range(Range::key(&key))?;
    if read_next(&found)? < next {
        let modified = found.first().map_or(0, |found| found.modified);
        let txn = Txn::new().when(context.is_this_store()).when(compare::modified(&key, modified));
        // Another process that changes it has increased it, too.
        context.client.txn(txn.then_put(&key, format!("{next:x}").as_bytes()))?;
    }
    Ok(())
}

/// Allocates this id.
///
/// # Errors
/// [`ErrorKind::AlreadyAllocated`](lock_core::ErrorKind::AlreadyAllocated), [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange).
pub(crate) fn allocate_exact(context: &Context, id: LockId, label: &Label) -> Result<Generation> {
    context.check_range(id)?;
    let value = records::write(&record(label, false)?);
    let key = context.keys.allocation(id);
    let txn = Txn::new()
        .when(context.is_this_store())
        .when(compare::absent(&key))
        .then_put(&key, &value)
        .then_delete(&context.keys.freed(id))
        .otherwise_read(context.read_store())
        .otherwise_read(Range::key(&key));
    let mut outcome = context.client.txn(txn)?;
    if outcome.succeeded {
        return Ok(Generation::new(outcome.revision.unsigned_abs()));
    }
    context.check(&outcome.read())?;
    own(&mut outcome, &value).ok_or_else(Error::already_allocated)
}

/// Returns the generation of an allocation that this call has made by an earlier attempt.
fn own(outcome: &mut Outcome, value: &[u8]) -> Option<Generation> {
    let found = outcome.read().into_first().filter(|found| found.value == value)?;
    Some(Generation::new(found.created.unsigned_abs()))
}

/// Reads the value of a name. It was written together with the allocation, so that both have the same revision.
fn named(found: &Found) -> Result<Option<Allocated>> {
    let Some(name) = found.first() else { return Ok(None) };
    let id = std::str::from_utf8(&name.value).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let id = id.ok_or_else(|| Error::corrupt(format!("the value of the key {} is not an id", records::text(&name.key))))?;
    Ok(Some((LockId::new(id), Generation::new(name.created.unsigned_abs()))))
}

fn read_next(found: &Found) -> Result<u64> {
    let Some(next) = found.first() else { return Ok(0) };
    let value = std::str::from_utf8(&next.value).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    value.ok_or_else(|| Error::corrupt(format!("the value of the key {} is not a number", records::text(&next.key))))
}

/// Creates the record of an allocation by this process.
pub(crate) fn record(label: &Label, named: bool) -> Result<AllocationRecord> {
    let allocator = Some(lock_session::this_process());
    Ok(AllocationRecord { label: label.clone(), named, allocator, since: records::now(), nonce: random::bits()? })
}

/// Adds what [`generation`] needs to read.
pub(crate) fn read_generation(context: &Context, txn: Txn, id: LockId) -> Txn {
    txn.then_read(Range::key(context.keys.allocation(id)).keys_only()).then_read(Range::key(context.keys.freed(id)))
}

/// Returns the generation of an id: the revision of its allocation, also after it was freed, and 0 if it was never allocated.
pub(crate) fn generation(allocation: &Found, freed: &Found) -> Result<Generation> {
    let number = match (allocation.first(), freed.first()) {
        (Some(allocation), _) => allocation.created.unsigned_abs(),
        (None, Some(freed)) => {
            let value = std::str::from_utf8(&freed.value).ok().and_then(|digits| digits.parse().ok());
            value.ok_or_else(|| Error::corrupt(format!("the value of the key {} is not a number", records::text(&freed.key))))?
        }
        (None, None) => 0,
    };
    Ok(Generation::new(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::numbered;

    #[test]
    fn taken_ids_are_left_out() {
        let taken = [LockId::new(3), LockId::new(5)];
        assert_eq!(ids(3, 7, &taken), [LockId::new(4), LockId::new(6)]);
        assert_eq!(ids((1 << 32) - 1, 1 << 32, &[]), [LockId::new(u32::MAX)]);
    }

    #[test]
    fn a_key_of_an_id_sorts_by_number() {
        assert!(numbered("/", LockId::new(9)) < numbered("/", LockId::new(10)));
    }
}
