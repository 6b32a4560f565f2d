//! What a wait does about a deadlock, and the option of a URL that sets it.

use std::str::FromStr;

use crate::{Capabilities, Deadlines, Error, Holders, Result, Waiters};

/// The option `deadlocks` of the URL of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum DeadlockPolicy {
    #[default]
    Warn,
    Refuse,
}

impl FromStr for DeadlockPolicy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "warn" => Ok(Self::Warn),
            "refuse" => Ok(Self::Refuse),
            _ => Err("give `refuse`, so that a wait that closes a cycle ends with an error, or `warn`, which is the default"),
        }
    }
}

/// What the waits for the locks of a store do about a deadlock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handling {
    /// Nothing: the backend does not name holders and waiters.
    Impossible,
    /// They log a warning.
    Warn,
    /// One of them ends with an error.
    Refuse,
}

impl Handling {
    /// Returns the handling for a store whose URL has this policy.
    pub(crate) fn of(policy: DeadlockPolicy, claims: &Capabilities) -> Result<Self> {
        match (policy, can_detect(claims)) {
            (DeadlockPolicy::Warn, true) => Ok(Self::Warn),
            (DeadlockPolicy::Refuse, true) => Ok(Self::Refuse),
            (DeadlockPolicy::Warn, false) => Ok(Self::Impossible),
            (DeadlockPolicy::Refuse, false) => Err(undetectable()),
        }
    }
}

/// Returns whether the backend lists the threads that wait.
pub(crate) fn names_waiters(waiters: Waiters) -> bool {
    matches!(waiters, Waiters::Found | Waiters::Named)
}

fn can_detect(claims: &Capabilities) -> bool {
    names_waiters(claims.waiters) && claims.holders >= Holders::Named && claims.deadlines >= Deadlines::Monotonic
}

/// The error of a store that cannot refuse deadlocks.
pub(crate) fn undetectable() -> Error {
    Error::unsupported(
        "it does not name holders and waiters, so that a deadlock is not detected; remove the option deadlocks=refuse",
    )
}
