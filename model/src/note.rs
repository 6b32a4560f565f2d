//! What a simulated thread tells the oracle.

use crate::bounds::LOCKS;
use crate::death::{Condition, Death};

/// Where a thread is with a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Outside,
    /// Its `acquire` has not returned.
    Acquiring,
    Inside,
    /// Its `release` has not returned.
    Releasing,
}

/// The progress of a thread, by which its death is judged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stage {
    pub(crate) locks: [Phase; LOCKS],
    /// A death was reported to it, and it has not marked the lock consistent.
    pub(crate) told: [bool; LOCKS],
    pub(crate) allocating: bool,
}

/// A result that a thread got, or a request that it is about to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// It has the lock, with this token; this death was reported to it.
    Enter { lock: usize, token: u64, told: Option<Death> },
    /// It has marked the lock consistent.
    Marked { lock: usize },
    /// It is about to leave.
    Leave { lock: usize, leaving: Leaving },
    /// It does without the lock.
    Without { lock: usize },
    /// An id was allocated.
    Took { id: usize },
    /// It is about to free it.
    Giving { id: usize },
    /// It is free.
    Gave { id: usize },
    /// It has a claim.
    Claimed,
    /// It is about to give that back.
    Unclaiming,
    /// What must not be.
    Wrong(&'static str),
}

/// How a thread leaves the critical section of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Leaving {
    /// It releases the lock.
    Released(Condition),
    /// It ends, in a process that lives on.
    Ended,
}
