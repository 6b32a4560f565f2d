use std::fmt;
use std::str::FromStr;

use lock_core::LockId;

/// The maximum number of locks in a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Capacity {
    /// This number, at least 1.
    Locks(u32),
    /// No maximum, except the number of ids (2³²).
    Unbounded,
}

impl Capacity {
    /// The default for a new pool: 1,048,576 locks. Unused locks need no room.
    pub(crate) const DEFAULT: Self = Self::Locks(1 << 20);

    /// Returns the maximum, or `None` if there is none.
    pub(crate) fn bound(self) -> Option<u64> {
        match self {
            Self::Locks(locks) => Some(locks.into()),
            Self::Unbounded => None,
        }
    }

    /// Returns the number of ids.
    pub(crate) fn ids(self) -> u64 {
        self.bound().unwrap_or(LockId::LIMIT)
    }
}

impl FromStr for Capacity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(0) => Err("the minimum is 1; give a number from 1 to 4294967295, or `unbounded`"),
            Ok(locks) => Ok(Self::Locks(locks)),
            Err(_) if text == "unbounded" => Ok(Self::Unbounded),
            Err(_) => Err("this is not a capacity; give a number from 1 to 4294967295, or `unbounded`"),
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locks(locks) => write!(f, "{locks}"),
            Self::Unbounded => f.write_str("unbounded"),
        }
    }
}
