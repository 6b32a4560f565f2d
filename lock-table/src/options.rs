use std::fmt;
use std::str::FromStr;

use crate::file_access::{FileGroup, FileOwner};
use crate::filesystem::Accept;
use lock_core::{Options, Result};

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

    pub(crate) fn limit(self) -> u64 {
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
pub struct Mode(pub(crate) u32);

impl Mode {
    /// For the owner alone: 0600.
    pub const PRIVATE: Self = Self(0o600);

    /// For the owner and the group: 0660.
    pub const GROUP: Self = Self(0o660);

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

/// The mode bit of a store's files that programs respect which remove what seems unused: the sticky bit, as the XDG Base Directory
/// Specification says it, and `systemd-tmpfiles`. Linux gives it no meaning in a regular file.
pub const IN_USE: u32 = 0o1000;

/// The options that every backend on a table takes: `capacity=N` or `capacity=unbounded`, `mode=0600`, `owner=USER` or `owner=any`,
/// `group=GROUP`, and `filesystem=any`.
///
/// The mode says what other users may do with the store. It does not say whose files the caller trusts: without `owner` and `group`
/// these are the caller's and root's, and those of the members of a group in a directory that belongs to that group (see
/// [`TableOptions::check_access`]). All options are checked at every opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TableOptions {
    /// The bound: at creation what it will be, and otherwise what it must be.
    pub bound: Option<Bound>,
    /// The permission bits: at creation what they will be, and otherwise what others are allowed.
    pub mode: Option<Mode>,
    /// A trusted owner of the store, beside the caller and root; at creation by root, the user that the store is given to.
    pub owner: Option<FileOwner>,
    /// The group: at creation what it will be, and otherwise what it must be. The store may belong to any user then.
    pub group: Option<FileGroup>,
    /// The file systems that are accepted.
    pub filesystem: Accept,
}

impl TableOptions {
    /// Takes them from a URL's options.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
    pub fn take(options: &mut Options<'_>) -> Result<Self> {
        let (bound, mode) = (options.take("capacity")?, options.take("mode")?);
        let (owner, group) = (options.take("owner")?, options.take("group")?);
        let filesystem = options.take("filesystem")?.unwrap_or_default();
        Ok(Self { bound, mode, owner, group, filesystem })
    }

    /// The permission bits that a creator sets and that others are allowed: 0600 unless a mode or a group is given, and 0660 for a
    /// group.
    pub fn permissions(&self) -> Mode {
        let default = if self.group.is_some() { Mode::GROUP } else { Mode::PRIVATE };
        self.mode.unwrap_or(default)
    }

    /// The same for a table in a directory that the caller has checked. The mode that is allowed says who can have created a file
    /// there.
    #[must_use]
    pub fn in_checked_directory(self) -> Self {
        let owner = match self.owner {
            // A creator gives the table to that user.
            Some(FileOwner::User(_)) => self.owner,
            _ if self.permissions().bits() & 0o022 != 0 => Some(FileOwner::Any),
            _ => self.owner,
        };
        Self { owner, ..self }
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
