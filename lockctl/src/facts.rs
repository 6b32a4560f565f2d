//! Locks as JSON. The names are stable, because scripts read them.

use std::time::Duration;

use lock_any::{Allocation, Generation, HeldLock, Holder, Label, LockId};
use serde::{Serialize, Serializer};

/// A lock that is allocated, held or both.
#[derive(Serialize, Debug)]
pub(crate) struct Entry {
    pub(crate) id: LockId,
    pub(crate) allocated: bool,
    pub(crate) label: Label,
    /// True if the label is the name of the lock.
    pub(crate) is_named: bool,
    pub(crate) generation: Option<Generation>,
    pub(crate) since: Option<u64>,
    pub(crate) allocator: Option<Holder>,
    /// `None` if the backend does not know.
    pub(crate) held: Option<bool>,
    pub(crate) holder: Option<Holder>,
    pub(crate) waiters: Option<u32>,
    /// The time in seconds for which the holder has held the lock at least; `null` if it is unknown.
    #[serde(serialize_with = "seconds")]
    pub(crate) held_for_at_least: Option<Duration>,
    /// The reason why the holder is not certain, or not known.
    pub(crate) doubt: Option<String>,
}

impl Entry {
    /// A lock with unknown properties.
    pub(crate) fn new(id: LockId) -> Self {
        Self {
            id,
            allocated: false,
            label: Label::default(),
            is_named: false,
            generation: None,
            since: None,
            allocator: None,
            held: None,
            holder: None,
            waiters: None,
            held_for_at_least: None,
            doubt: None,
        }
    }

    /// Adds the properties of an allocation.
    pub(crate) fn allocated(mut self, allocation: Allocation) -> Self {
        self.allocated = true;
        self.label = allocation.label;
        self.is_named = allocation.is_named;
        self.generation = allocation.generation;
        self.since = allocation.since;
        self.allocator = allocation.allocator;
        self
    }

    /// Adds the properties of a held lock.
    pub(crate) fn held(mut self, held: HeldLock) -> Self {
        self.held = Some(true);
        self.holder = held.holder;
        self.waiters = held.waiters;
        self.held_for_at_least = held.held_for_at_least;
        self.doubt = held.doubt;
        self
    }

    /// Marks the lock as free.
    pub(crate) fn free(mut self) -> Self {
        self.held = Some(false);
        self
    }
}

/// Serializes a duration as a number of seconds.
pub(crate) fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
