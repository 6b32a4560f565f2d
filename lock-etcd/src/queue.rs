//! The queue of a lock, as a transaction has found it.

use lock_core::Error;

use crate::client::KeyValue;
use crate::records::{self, OwnerRecord, PlaceRecord};

/// What a waiter has to know of the queue.
#[derive(Debug)]
pub(crate) struct Around {
    /// The place of the waiter.
    pub(crate) own: Option<KeyValue>,
    /// The place before it.
    pub(crate) before: Option<KeyValue>,
    /// The owner's record.
    pub(crate) owner: Option<KeyValue>,
}

/// Returns true if the place is that of a waiter or an owner, and ends with its session.
pub(crate) fn is_ours(place: &KeyValue) -> bool {
    place.lease != 0 && records::read::<PlaceRecord>(place).is_ok()
}

/// Returns true if the place belongs to this owner.
pub(crate) fn is_place(place: &KeyValue, queue: &str, owner: &OwnerRecord) -> bool {
    let name = place.key.strip_prefix(queue.as_bytes());
    name.is_some() && name == owner.place.as_deref().map(str::as_bytes)
}

/// Counts the places of waiters.
pub(crate) fn waiters(places: &[KeyValue], queue: &str, owner: Option<&OwnerRecord>) -> u32 {
    let owners = places.iter().filter(|place| owner.is_some_and(|owner| is_place(place, queue, owner))).count();
    u32::try_from(places.len() - owners).unwrap_or(u32::MAX)
}

/// Returns the error for a key in the queue that no session removes.
pub(crate) fn foreign(place: &KeyValue) -> Error {
    let key = records::text(&place.key);
    let reason =
        if place.lease == 0 { "has no lease, so that it blocks the lock" } else { "is not of this program, and blocks the lock" };
    Error::untrusted(format!("the key {key} {reason}; remove it with `etcdctl del {key}`"))
}
