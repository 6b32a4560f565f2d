use std::fmt;

use crate::{Holder, LockId};

/// A report that an owner died, or panicked, while it held the lock.
///
/// The protected data may be inconsistent. The lock itself is valid, and the receiver of the report holds it. Each next owner receives
/// the report until one calls [`Guard::mark_consistent`](crate::Guard::mark_consistent).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Death {
    /// The owner that died, where the backend knows it.
    pub holder: Option<Holder>,
    /// The cause of its death.
    pub cause: Cause,
}

/// The reason why an owner did not release its lock normally.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    /// The process exited or was killed.
    ProcessEnded = 1,
    /// The process executed another program (execve(2)).
    Executed = 2,
    /// The thread exited, and its process is still alive.
    ThreadEnded = 3,
    /// The thread panicked and released the lock while unwinding.
    Panicked = 4,
    /// The session of its process with the server ended: the process died, was stopped for too long, or could not reach the server.
    SessionEnded = 5,
    /// The backend does not know the reason.
    // Last, because a text of a later version is deserialized to the last variant.
    #[cfg_attr(feature = "serde", serde(other))]
    Unknown = 0,
}

impl Cause {
    /// Every cause, in the order of [`Cause::number`].
    const ALL: [Self; 6] =
        [Self::Unknown, Self::ProcessEnded, Self::Executed, Self::ThreadEnded, Self::Panicked, Self::SessionEnded];

    /// Returns a number from 0 to 15, for a backend that stores the cause in four bits.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// Returns the cause with this number, or [`Cause::Unknown`] if there is none.
    pub fn from_number(number: u64) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Self::Unknown)
    }
}

impl Death {
    /// Creates the report of a death with an unknown cause. `holder` is `None` when the owner is unknown.
    pub fn of(holder: Option<Holder>) -> Self {
        Self { holder, cause: Cause::Unknown }
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }
}

/// A lock whose latest owner died or panicked while it held the lock, and whose data no owner has marked consistent since.
///
/// The next owner gets the report of the death ([`Guard::recovered`](crate::Guard::recovered)).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct UnresolvedDeath {
    /// The id of the lock.
    pub id: LockId,
    /// The report.
    pub death: Death,
    /// True if the lock was released since: by an owner that got the report and did not mark the data consistent, or by the owner that
    /// panicked. False if the dead owner is still recorded as the owner.
    pub is_released: bool,
}

impl UnresolvedDeath {
    /// Creates the record of a death whose owner is still recorded.
    pub fn new(id: LockId, death: Death) -> Self {
        Self { id, death, is_released: false }
    }

    /// Sets whether the lock was released since.
    #[must_use]
    pub fn with_released(mut self, is_released: bool) -> Self {
        self.is_released = is_released;
        self
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(holder) => write!(f, "{holder} ")?,
            None => f.write_str("an owner that is not recorded ")?,
        }
        write!(f, "{} while holding the lock", self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown | Self::ProcessEnded => "died",
            Self::Executed => "executed another program",
            Self::ThreadEnded => "ended its thread",
            Self::Panicked => "panicked",
            Self::SessionEnded => "lost its session",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_number_inverts_number() {
        for cause in Cause::ALL {
            assert_eq!(Cause::from_number(cause.number()), cause);
        }
        assert_eq!(Cause::from_number(15), Cause::Unknown);
    }

    #[test]
    fn display_names_the_holder_and_the_cause() {
        let holder = Holder::of_process(7).with_command("make");
        let death = Death::of(Some(holder.clone())).with_cause(Cause::Executed);
        assert_eq!(death.to_string(), format!("{holder} executed another program while holding the lock"));
        assert_eq!(Death::of(None).to_string(), "an owner that is not recorded died while holding the lock");
    }
}
