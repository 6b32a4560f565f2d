//! The values of the store's keys, in JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use lock_core::{Cause, Death, Error, Holder, Label, Result, StoreId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::KeyValue;

/// The version of the keys and the values.
pub(crate) const FORMAT: u32 = 1;

/// A store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct StoreRecord {
    /// The version of the format.
    pub(crate) lock_etcd: u32,
    pub(crate) id: StoreId,
    /// `None` if the number of locks is not bounded.
    pub(crate) capacity: Option<u64>,
    /// The time of the creation in nanoseconds since 1970.
    pub(crate) created: u64,
}

/// An allocated id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AllocationRecord {
    pub(crate) label: Label,
    #[serde(default)]
    pub(crate) named: bool,
    pub(crate) allocator: Option<Holder>,
    pub(crate) since: u64,
    /// A random number, by which an allocator whose answer was lost finds its allocation.
    pub(crate) nonce: u64,
}

/// A place in the queue of a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PlaceRecord {
    pub(crate) holder: Holder,
    pub(crate) since: u64,
}

/// The owner of a lock. Unlike its place in the queue, it does not end with its session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct OwnerRecord {
    /// The last part of the key of the owner's place in the queue. `None` if the lock was released with a report.
    pub(crate) place: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<Holder>,
    pub(crate) since: u64,
    /// The report that the owner got, or the report for the next owner if the lock was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) death: Option<Death>,
}

impl OwnerRecord {
    /// Returns the report for the next owner, which found this record and no place of its owner.
    pub(crate) fn death_for_next(self) -> Death {
        match self {
            Self { place: None, death, holder, .. } => death.unwrap_or_else(|| Death::of(holder)),
            Self { holder, .. } => Death::of(holder).with_cause(Cause::SessionEnded),
        }
    }
}

/// Reads a record.
///
/// # Errors
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt).
pub(crate) fn read<T: DeserializeOwned>(kv: &KeyValue) -> Result<T> {
    serde_json::from_slice(&kv.value)
        .map_err(|error| Error::corrupt(format!("the value of the key {} is not valid ({error})", text(&kv.key))))
}

/// Writes a record.
pub(crate) fn write(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("the records have no maps with other keys than texts")
}

/// Returns a key for messages.
pub(crate) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    since_1970().as_secs()
}

/// Returns the nanoseconds since 1970.
pub(crate) fn now_in_nanoseconds() -> u64 {
    u64::try_from(since_1970().as_nanos()).unwrap_or(u64::MAX)
}

fn since_1970() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
