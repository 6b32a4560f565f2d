use std::fmt;
use std::str::FromStr;

use crate::filesystem::Accept;
use crate::{Options, Result};

/// How many locks a store can have at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// As many as this, at least one.
    Locks(u32),
    /// As many as there are ids and memory.
    Unbounded,
}

impl Bound {
    /// What a creator gets who does not say: 1,048,576. It costs nothing until it is used.
    pub const DEFAULT: Self = Self::Locks(1 << 20);

    pub(super) fn limit(self) -> u64 {
        match self {
            Self::Locks(locks) => u64::from(locks),
            Self::Unbounded => 1 << 32,
        }
    }
}

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(0) => Err("a store has at least one lock"),
            Ok(locks) => Ok(Self::Locks(locks)),
            Err(_) if text == "unbounded" => Ok(Self::Unbounded),
            Err(_) => Err("it is a number from 1 to 4294967295, or `unbounded`"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locks(locks) => write!(f, "{locks}"),
            Self::Unbounded => f.write_str("unbounded"),
        }
    }
}

/// The permission bits of a store's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode(pub(super) u32);

impl Mode {
    /// For the owner alone: 0600.
    pub const PRIVATE: Self = Self(0o600);

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(Self(mode)),
            _ => Err("it is an octal number that lets the owner read and write, and nobody execute, as 0600 or 0660"),
        }
    }
}

/// The options that every backend on a table takes: `capacity=N`, `capacity=unbounded`, `mode=0600` and
/// `filesystem=any`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TableOptions {
    /// The bound: at creation what it will be, and otherwise what it must be.
    pub bound: Option<Bound>,
    /// The permission bits: at creation what they will be, and otherwise what others are allowed.
    pub mode: Option<Mode>,
    /// The file systems that are accepted.
    pub filesystem: Accept,
}

impl TableOptions {
    /// Takes them from a URL's options.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](crate::ErrorKind::BadUrl).
    pub fn take(options: &mut Options<'_>) -> Result<Self> {
        Ok(Self {
            bound: options.take("capacity")?,
            mode: options.take("mode")?,
            filesystem: options.take("filesystem")?.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1", Some(Bound::Locks(1)))]
    #[case("4294967295", Some(Bound::Locks(u32::MAX)))]
    #[case("unbounded", Some(Bound::Unbounded))]
    #[case("0", None)]
    #[case("-1", None)]
    #[case("4294967296", None)]
    #[case("", None)]
    fn a_bound_is_a_number_or_unbounded(#[case] text: &str, #[case] bound: Option<Bound>) {
        assert_eq!(text.parse().ok(), bound);
    }

    #[rstest]
    #[case("0600", Some(Mode(0o600)))]
    #[case("660", Some(Mode(0o660)))]
    #[case("0777", None)]
    #[case("0400", None)]
    #[case("8", None)]
    fn a_mode_lets_the_owner_in_and_nobody_execute(#[case] text: &str, #[case] mode: Option<Mode>) {
        assert_eq!(text.parse().ok(), mode);
    }
}
