//! The result of an acquisition, and the death that it reports.

use real_core::OwnerKind;

/// The cause of an owner's death.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Any other cause.
    ProcessEnded = 1,
    /// The owner released the lock during a panic.
    Panicked = 2,
}

impl Cause {
    pub(crate) fn number(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_number(number: u64) -> Self {
        if number == Self::Panicked.number() { Self::Panicked } else { Self::ProcessEnded }
    }
}

/// The death of an owner in its critical section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Death {
    /// `None` if the recorded owner word is no thread's.
    pub(crate) thread: Option<usize>,
    pub(crate) cause: Cause,
}

impl Death {
    pub(crate) fn of(thread: Option<Option<usize>>) -> Self {
        Self { thread: thread.flatten(), cause: Cause::ProcessEnded }
    }

    pub(crate) fn with_cause(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }
}

/// The acquisition of a lock whose previous owner died in its critical section.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) token: u64,
    pub(crate) death: Death,
}

/// The result of an acquisition.
#[derive(Debug)]
pub(crate) enum Acquired {
    Held { token: u64 },
    Recovered(Box<Recovery>),
    TimedOut,
}

/// The condition of the protected data at a release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Condition {
    Consistent,
    Inconsistent,
    Panicked,
}

/// A stand-in for the proof that the caller of a release is a guard.
#[derive(Debug)]
pub(crate) struct Proof(pub(crate) OwnerKind, pub(crate) Condition);

impl Proof {
    pub(crate) fn owner(&self) -> OwnerKind {
        self.0
    }

    pub(crate) fn condition(&self) -> Condition {
        self.1
    }
}
