//! The options of a reference store's URL.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::str::FromStr;

use lock_core::LockId;
use nix::unistd::geteuid;

/// The greatest possible number of locks: a number, or `unbounded`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bound(pub(super) Option<u64>);

impl Bound {
    pub(super) const DEFAULT: Self = Self(Some(128));

    /// Returns the number of ids.
    pub(super) fn limit(self) -> u64 {
        self.0.unwrap_or(LockId::LIMIT)
    }
}

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("unbounded", _) => Ok(Self(None)),
            (_, Ok(0)) => Err("the capacity is 0; the least is 1"),
            (_, Ok(number)) => Ok(Self(Some(number))),
            _ => Err("expected a number or \"unbounded\""),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("unbounded"),
        }
    }
}

/// The permission bits of a store's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode(u32);

impl Mode {
    pub(super) const DEFAULT: Self = Self(0o600);

    /// Extracts the permission bits from the mode that `fstat` reports.
    pub(super) fn of_file(bits: u32) -> Self {
        Self(bits & 0o666)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// Returns the mode of a directory in which the same users may create files.
    pub(super) fn of_directory(self) -> u32 {
        self.0 | (self.0 >> 1 & 0o111)
    }

    /// Checks whether users other than the owner may write.
    pub(super) fn is_shared(self) -> bool {
        self.0 & 0o022 != 0
    }

    /// Checks that each write permission for other users is also in `limit`.
    pub(super) fn is_within(self, limit: Self) -> bool {
        self.0 & 0o022 & !limit.0 == 0
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(Self(mode)),
            _ => Err("expected an octal number such as 0600 or 0666"),
        }
    }
}

/// The owners whose files a process accepts, in addition to itself and root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trusted {
    /// Accepts files of every user.
    pub(super) any: bool,
    /// Accepts only files of this group.
    pub(super) group: Option<u32>,
}

impl Trusted {
    /// Checks whether a file with this metadata is accepted.
    pub(super) fn includes(self, facts: &Metadata) -> bool {
        let is_known = self.any || [0, geteuid().as_raw()].contains(&facts.uid());
        self.group.map_or(is_known, |group| facts.gid() == group)
    }
}

/// The sticky bit. Programs that remove unused files keep a file with it, by the XDG Base Directory Specification.
pub(super) const STICKY: u32 = 0o1000;

/// The owner, group and mode of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) mode: u32,
}

impl Access {
    /// Access for the creator only.
    pub(crate) const DEFAULT: Self = Self { owner: None, group: None, mode: 0o600 };

    /// Returns the access of the store's header, which all new files of the store get.
    pub(super) fn of(facts: &Metadata) -> Self {
        // Only root can change the owner of a file.
        let owner = geteuid().is_root().then(|| facts.uid());
        Self { owner, group: Some(facts.gid()), mode: facts.mode() & 0o666 }
    }

    /// Sets the owner, group and mode of a file that this process created.
    ///
    /// Keeps the owner and group if the process is not permitted to change them.
    pub(super) fn give(self, file: &Path) -> io::Result<()> {
        match chown(file, self.owner, self.group) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
        fs::set_permissions(file, Permissions::from_mode(self.mode | STICKY))
    }
}
