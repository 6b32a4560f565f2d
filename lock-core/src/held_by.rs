use std::fmt;

use crate::Holder;

/// The holder of a lock that could not be acquired in time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HeldBy {
    /// A thread or a process that is not proven to be dead.
    Holder(Holder),
    /// A thread or a process that is proven to be dead. Its lock must be taken over or broken.
    Dead(Holder),
    /// No thread and no process: the lock was released meanwhile, or is free.
    Free,
    /// The backend cannot name the holder.
    Unknown {
        /// The reason why it cannot.
        reason: String,
    },
}

impl HeldBy {
    /// Creates a [`HeldBy::Unknown`].
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }

    /// Returns the holder, dead or not, if the backend can name it.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Holder(holder) | Self::Dead(holder) => Some(holder),
            Self::Free | Self::Unknown { .. } => None,
        }
    }

    /// Returns true if the holder is proven to be dead.
    pub fn is_dead(&self) -> bool {
        matches!(self, Self::Dead(_))
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder(holder) => write!(f, "held by {holder}"),
            Self::Dead(holder) => write!(f, "held by {holder}, which is dead"),
            Self::Free => f.write_str("it was released meanwhile"),
            Self::Unknown { reason } => write!(f, "the holder is unknown: {reason}"),
        }
    }
}
