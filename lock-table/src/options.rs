use std::fmt;
use std::str::FromStr;

use crate::file_access::{FileGroup, FileOwner};
use crate::filesystem::Accept;
use lock_core::{Error, LockId, Options, Result};

/// The maximum number of locks in a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// This number, at least 1.
    Locks(u32),
    /// No maximum, except the number of ids (2³²) and the space in the file system.
    Unbounded,
}

impl Bound {
    /// The default for a new store: 1,048,576 locks. Unused locks need no memory.
    pub const DEFAULT: Self = Self::Locks(1 << 20);

    /// Returns the maximum number of locks, or `None` if there is none.
    pub fn capacity(self) -> Option<u64> {
        match self {
            Self::Locks(locks) => Some(locks.into()),
            Self::Unbounded => None,
        }
    }

    /// Returns the bound of a store with this number of ids, from 1 to [`LockId::LIMIT`].
    pub(crate) fn of_limit(limit: u64) -> Self {
        u32::try_from(limit).map_or(Self::Unbounded, Self::Locks)
    }

    /// Returns the bound of a store that is raised to this capacity, or `None` if it has that capacity. `None` as capacity is no bound.
    ///
    /// # Errors
    /// [`ErrorKind::OtherCapacity`](lock_core::ErrorKind::OtherCapacity) if the capacity is smaller, or if it is too large.
    pub fn raised_to(self, capacity: Option<u64>) -> Result<Option<Self>> {
        let raised = match capacity {
            None => Self::Unbounded,
            Some(locks) => match u32::try_from(locks) {
                Ok(locks) => Self::Locks(locks),
                Err(_) => {
                    let advice = "give at most 4294967295, or no bound (`unbounded`)";
                    return Err(Error::other_capacity(self.to_string(), locks.to_string()).advise(advice));
                }
            },
        };
        if raised.limit() < self.limit() {
            let advice = "a store cannot become smaller; give a greater number, or create another store";
            return Err(Error::other_capacity(self.to_string(), raised.to_string()).advise(advice));
        }
        Ok((raised != self).then_some(raised))
    }

    /// Checks that a store that was created with the bound `created`, and now has this bound, has the bound of its URL.
    ///
    /// A store that was raised has each bound from the first to the present one, so that programs with an earlier URL still open it.
    ///
    /// # Errors
    /// [`ErrorKind::OtherCapacity`](lock_core::ErrorKind::OtherCapacity).
    pub(crate) fn check_asked(self, created: Self, asked: Option<Self>) -> Result<()> {
        let Some(asked) = asked else { return Ok(()) };
        if (created.limit()..=self.limit()).contains(&asked.limit()) {
            return Ok(());
        }
        let error = Error::other_capacity(self.to_string(), asked.to_string());
        if asked.limit() < self.limit() {
            return Err(error);
        }
        Err(error.advise(format!("omit the option capacity, or raise the capacity with Store::grow (`lockctl grow {asked}`)")))
    }

    /// Returns the number of ids.
    pub fn limit(self) -> u64 {
        self.capacity().unwrap_or(LockId::LIMIT)
    }
}

impl FromStr for Bound {
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
    /// Access for the owner: 0600.
    pub const PRIVATE: Self = Self(0o600);

    /// Access for the owner and the group: 0660.
    pub const GROUP: Self = Self(0o660);

    /// Returns the bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(Self(mode)),
            _ => Err(
                "this is not a mode; give an octal number with read and write for the owner and without execute, as 0600 or 0660",
            ),
        }
    }
}

/// The sticky bit in the mode of a store's files, which protects them from programs that remove unused files.
///
/// The XDG Base Directory Specification and `systemd-tmpfiles` respect it. Linux itself ignores it on regular files (inode(7)).
pub const STICKY: u32 = 0o1000;

/// The options of all backends with a table.
///
/// They are `capacity=N` or `capacity=unbounded`, `mode=0600`, `owner=USER` or `owner=any`, `group=GROUP`, and `filesystem=any`.
///
/// The mode determines the access of other users. It does not determine the owners that the caller trusts. Without `owner` and `group`
/// these are the caller, root, and the members of a group in a directory of that group (see [`TableOptions::check_access`]). All options
/// are checked at each opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct TableOptions {
    /// The bound of a new store, or the required bound of an existing one: one that it has, or had before it was raised.
    pub bound: Option<Bound>,
    /// The permission bits of a new store, or the maximum permission bits of an existing one.
    pub mode: Option<Mode>,
    /// A trusted owner in addition to the caller and root. If root creates the store, its owner.
    pub owner: Option<FileOwner>,
    /// The group of a new store, or the required group of an existing one, which may then belong to any user.
    pub group: Option<FileGroup>,
    /// The accepted file systems.
    pub filesystem: Accept,
}

impl TableOptions {
    /// Takes the options from those of a URL.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
    pub fn take(options: &mut Options<'_>) -> Result<Self> {
        let (bound, mode) = (options.take("capacity")?, options.take("mode")?);
        let (owner, group) = (options.take("owner")?, options.take("group")?);
        let filesystem = options.take("filesystem")?.unwrap_or_default();
        Ok(Self { bound, mode, owner, group, filesystem })
    }

    /// Returns the permission bits of a new store, which are also the maximum of an existing one.
    ///
    /// Without [`TableOptions::mode`] they are 0660 if a group is given, and 0600 otherwise.
    pub fn permissions(&self) -> Mode {
        let default = if self.group.is_some() { Mode::GROUP } else { Mode::PRIVATE };
        self.mode.unwrap_or(default)
    }

    /// Returns the options for a table in a directory that the caller has checked.
    ///
    /// If the mode lets the group or others write, the result accepts any owner: each user that can write the directory can have created
    /// the table.
    #[must_use]
    pub fn in_checked_directory(self) -> Self {
        let owner = match self.owner {
            // The creator sets the owner of the table to this user.
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
    fn a_mode_has_read_and_write_for_the_owner_and_no_execute(#[case] text: &str, #[case] mode: Option<Mode>) {
        assert_eq!(text.parse().ok(), mode);
    }
}
