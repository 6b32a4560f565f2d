use std::collections::BTreeMap;
use std::sync::Arc;

use lock_core::{
    Allocation, Error, Generation, HeldLock, Label, LockId, Manager, OpenMode, RawLock, Reconciled, Result, StoreId, StoreUrl,
};
use lock_session::{OpenStores, SessionLock, Sessions};
use lock_table::Bound;

use crate::allocated::AllocatedId;
use crate::allocation::{self, Allocator};
use crate::client::{Client, KeyValue, Range, Txn, compare};
use crate::context::Context;
use crate::lock::Etcd;
use crate::options::EtcdOptions;
use crate::records::{self, FORMAT, StoreRecord};
use crate::{destroying, freeing, keys, listing, random, reconcile};

/// A store in an etcd cluster.
#[derive(Debug)]
struct EtcdManager {
    context: Arc<Context>,
    sessions: Arc<Sessions<Etcd>>,
    allocator: Allocator,
    prefix: String,
    /// The version of the server.
    version: String,
}

/// Opens or creates a store.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let EtcdOptions { client, prefix, bound, timing } = EtcdOptions::parse(url)?;
    let version = client.check_version()?;
    let store = match mode {
        OpenMode::Open => client.range(Range::key(keys::store(&prefix)))?.into_first().ok_or_else(Error::absent)?,
        OpenMode::Create | OpenMode::OpenOrCreate => create(&client, &prefix, bound, mode)?,
    };
    let record = read_store(&store)?;
    check_bound(&record, bound)?;
    let id = record.id;
    let context = Context::new(client, &prefix, record, store.created, timing);
    let sessions = OPEN.find_or_insert((id, url.as_str().to_owned()), || Etcd::new(Arc::new(context)))?;
    let context = sessions.engine().context();
    Ok(Arc::new(EtcdManager { context, sessions, allocator: Allocator::default(), prefix, version }))
}

/// The stores of this process, by their identities and URLs.
static OPEN: OpenStores<(StoreId, String), Etcd> = OpenStores::new();

/// Creates the store. If there is one, returns it, or the error that it exists.
fn create(client: &Client, prefix: &str, bound: Option<Bound>, mode: OpenMode) -> Result<KeyValue> {
    let id = StoreId::new(u128::from(random::bits()?) << 64 | u128::from(random::bits()?));
    let capacity = bound.unwrap_or(Bound::DEFAULT).capacity();
    let record = StoreRecord { lock_etcd: FORMAT, id, capacity, created: records::now_in_nanoseconds() };
    let (key, value) = (keys::store(prefix), records::write(&record));
    let txn = Txn::new().when(compare::absent(&key)).then_put(&key, &value).otherwise_read(Range::key(&key));
    let mut outcome = client.txn(txn)?;
    if outcome.succeeded {
        let (key, revision) = (key.into_bytes(), outcome.revision);
        return Ok(KeyValue { key, value, created: revision, modified: revision, lease: 0 });
    }
    // It was there when the transaction looked.
    let store = outcome.read().into_first().ok_or_else(Error::absent)?;
    // The identity tells a store that an earlier attempt has created.
    if mode == OpenMode::Create && store.value != value { Err(Error::exists()) } else { Ok(store) }
}

fn read_store(store: &KeyValue) -> Result<StoreRecord> {
    let key = records::text(&store.key);
    let value: serde_json::Value = serde_json::from_slice(&store.value).unwrap_or_default();
    match value.get("lock_etcd").and_then(serde_json::Value::as_u64) {
        None => Err(Error::not_a_store(format!("the value of the key {key} is not that of a store; use another prefix"))),
        Some(version) if version != u64::from(FORMAT) => {
            Err(Error::other_version(u32::try_from(version).unwrap_or(u32::MAX), FORMAT, key))
        }
        Some(_) => records::read(store),
    }
}

fn check_bound(record: &StoreRecord, bound: Option<Bound>) -> Result<()> {
    let display = |capacity: Option<u64>| capacity.map_or_else(|| "unbounded".to_owned(), |capacity| capacity.to_string());
    match bound.map(Bound::capacity) {
        Some(asked) if asked != record.capacity => Err(Error::other_capacity(display(record.capacity), display(asked))),
        _ => Ok(()),
    }
}

impl EtcdManager {
    fn handle(&self, id: LockId, generation: Generation) -> Arc<dyn RawLock> {
        Arc::new(SessionLock::new(Arc::clone(&self.sessions), id, Some(generation)))
    }
}

impl Drop for EtcdManager {
    fn drop(&mut self) {
        OPEN.close(&self.sessions);
    }
}

impl Manager for EtcdManager {
    fn id(&self) -> StoreId {
        self.context.id()
    }

    fn capacity(&self) -> Option<u64> {
        self.context.record.capacity
    }

    fn check(&self) -> Result<()> {
        self.context.check(&self.context.client.range(self.context.read_store())?)
    }

    /// The time of the creation: the revisions of a new cluster begin at 1.
    fn token_base(&self) -> u64 {
        self.context.record.created
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.context.check_range(id)?;
        let txn = allocation::read_generation(&self.context, Txn::new().then_read(self.context.read_store()), id);
        let mut outcome = self.context.client.txn(txn)?;
        self.context.check(&outcome.read())?;
        let generation = allocation::generation(&outcome.read(), &outcome.read())?;
        Ok(self.handle(id, generation))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        Ok(self.allocator.allocate(&self.context, label)?.0)
    }

    fn allocate_lock(&self, label: &Label) -> Result<(LockId, Arc<dyn RawLock>)> {
        let (id, generation) = self.allocator.allocate(&self.context, label)?;
        Ok((id, self.handle(id, generation)))
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        allocation::allocate_exact(&self.context, id, label).map(drop)
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        let (id, generation) = self.allocator.named(&self.context, name)?;
        Ok((id, Some(generation)))
    }

    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        freeing::free(&self.context, id, generation)
    }

    fn free_all(&self) -> Result<u64> {
        freeing::free_all(&self.context)
    }

    fn available(&self) -> Result<Option<u64>> {
        let context = &self.context;
        let allocated = Range::prefix(&context.keys.allocations()).count_only();
        let mut outcome = context.client.txn(Txn::new().then_read(context.read_store()).then_read(allocated))?;
        context.check(&outcome.read())?;
        let allocated = outcome.read().count.unsigned_abs();
        Ok(context.record.capacity.map(|capacity| capacity.saturating_sub(allocated)))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.allocated_from(LockId::new(0), usize::MAX)
    }

    fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        let records = listing::allocations_from(&self.context, from.get().into(), limit)?;
        Ok(records.into_iter().map(AllocatedId::into_allocation).collect())
    }

    fn allocation(&self, id: LockId) -> Result<Option<Allocation>> {
        listing::allocation_of(&self.context, id)
    }

    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        reconcile::reconcile(&self.context, ids)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let page = listing::held_from(&self.context, from)?;
            let Some(last) = page.last() else { return Ok(all) };
            from = u64::from(last.id.get()) + 1;
            all.extend(page);
        }
    }

    fn held_from(&self, from: LockId, _limit: usize) -> Result<Vec<HeldLock>> {
        listing::held_from(&self.context, from.get().into())
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let Context { client, timing, .. } = &*self.context;
        vec![
            ("server", format!("{}, version {}", client.server(), self.version)),
            ("prefix", self.prefix.clone()),
            ("time to live", format!("{:?}, of which the last {:?} are not relied on", timing.ttl, timing.margin)),
        ]
    }

    fn destroy(&self) -> Result<()> {
        destroying::destroy(&self.context)
    }
}
