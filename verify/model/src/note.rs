//! Reports of a simulated thread to the oracle.

use crate::bounds::LOCKS;
use crate::death::{Condition, Death};

/// The progress of a thread with a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Outside,
    /// `acquire` has not returned.
    Acquiring,
    Inside,
    /// `release` has not returned.
    Releasing,
}

/// The progress of a thread. It determines the consequences of a death.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stage {
    pub(crate) locks: [Phase; LOCKS],
    /// For each lock, whether a death was reported to the thread that has not marked the lock consistent since.
    pub(crate) reported: [bool; LOCKS],
    pub(crate) allocating: bool,
}

/// A result that a thread has received, or an operation that it is about to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// It has acquired the lock with this token and this report of a death.
    Enter { lock: usize, token: u64, reported: Option<Death> },
    /// It has marked the lock consistent.
    Marked { lock: usize },
    /// It is about to leave the critical section.
    Leave { lock: usize, leaving: Leaving },
    /// It has timed out.
    TimedOut { lock: usize },
    /// It has allocated an id.
    Allocated { id: usize },
    /// It is about to free an id.
    Freeing { id: usize },
    /// It has freed an id.
    Freed { id: usize },
    /// It has acquired the claim.
    Claimed,
    /// It is about to release the claim.
    ReleasingClaim,
    /// It has detected an error.
    Wrong(&'static str),
}

/// How a thread leaves the critical section of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Leaving {
    /// It releases the lock.
    Released(Condition),
    /// It ends, and its process lives on.
    Ended,
}
