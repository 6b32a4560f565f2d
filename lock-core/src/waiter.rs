use std::time::Duration;

use crate::{Holder, LockId};

/// A thread that waits for a lock, as [`Store::waiting`](crate::Store::waiting) finds it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Waiter {
    /// The id of the lock.
    pub id: LockId,
    /// The waiting thread.
    pub thread: Holder,
    /// The time that the thread has waited at least, where it is known. Serialized as a number of seconds.
    #[cfg_attr(feature = "serde", serde(with = "crate::serialize::seconds"))]
    pub waited: Option<Duration>,
    /// True if the thread sleeps and no release will wake it, because its wake-up was lost.
    pub is_lost: bool,
}

impl Waiter {
    /// Creates a waiter of which only the thread is known.
    pub fn new(id: LockId, thread: Holder) -> Self {
        Self { id, thread, waited: None, is_lost: false }
    }

    /// Sets the time that the thread has waited at least.
    #[must_use]
    pub fn with_waited(mut self, waited: Option<Duration>) -> Self {
        self.waited = waited;
        self
    }

    /// Sets whether no release will wake the thread.
    #[must_use]
    pub fn with_lost(mut self, is_lost: bool) -> Self {
        self.is_lost = is_lost;
        self
    }
}

/// The threads that wait for the locks of a store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Waits {
    /// The waiting threads, in ascending order of id.
    pub waiters: Vec<Waiter>,
    /// The reason why the list may be incomplete, such as missing rights, and what to do. `None` if it is complete.
    pub incomplete: Option<String>,
}

impl Waits {
    /// Creates a list. The waiters are sorted by the id of their lock.
    pub fn new(mut waiters: Vec<Waiter>, incomplete: Option<String>) -> Self {
        waiters.sort_by_key(|waiter| waiter.id);
        Self { waiters, incomplete }
    }
}
