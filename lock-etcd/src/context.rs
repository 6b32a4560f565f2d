use lock_core::{Error, LockId, Result, StoreId};
use lock_session::Timing;
use serde_json::Value;

use crate::client::{Client, Found, Range, compare};
use crate::keys::{self, Keys};
use crate::records::{self, StoreRecord};

/// An open store.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    pub(crate) record: StoreRecord,
    pub(crate) timing: Timing,
    /// The key that makes the prefix a store, and the revision at which it was created.
    store_key: String,
    created: i64,
}

impl Context {
    pub(crate) fn new(client: Client, prefix: &str, record: StoreRecord, created: i64, timing: Timing) -> Self {
        Self { client, keys: Keys::new(prefix, record.id), record, timing, store_key: keys::store(prefix), created }
    }

    /// The key that makes the prefix a store.
    pub(crate) fn store_key(&self) -> &str {
        &self.store_key
    }

    /// The number of ids.
    pub(crate) fn limit(&self) -> u64 {
        self.record.capacity.unwrap_or(LockId::LIMIT)
    }

    /// # Errors
    /// [`ErrorKind::OutOfRange`](lock_core::ErrorKind::OutOfRange).
    pub(crate) fn check_range(&self, id: LockId) -> Result<()> {
        if u64::from(id.get()) < self.limit() { Ok(()) } else { Err(Error::out_of_range(self.limit())) }
    }

    /// Compares the store with the one that was opened.
    pub(crate) fn is_this_store(&self) -> Value {
        compare::created(&self.store_key, self.created)
    }

    /// Reads the key with which [`Context::check`] compares.
    pub(crate) fn read_store(&self) -> Range {
        Range::key(&self.store_key)
    }

    /// Checks that the prefix still leads to this store.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](lock_core::ErrorKind::Destroyed), [`ErrorKind::Replaced`](lock_core::ErrorKind::Replaced),
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt).
    pub(crate) fn check(&self, found: &Found) -> Result<()> {
        let Some(store) = found.first() else { return Err(Error::destroyed()) };
        let StoreRecord { id, .. } = records::read(store)?;
        if id == self.record.id && store.created == self.created { Ok(()) } else { Err(Error::replaced()) }
    }

    /// Returns the identity of the store.
    pub(crate) fn id(&self) -> StoreId {
        self.record.id
    }
}
