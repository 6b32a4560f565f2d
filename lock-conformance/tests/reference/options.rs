//! The options of a reference store's URL.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::str::FromStr;

use nix::unistd::geteuid;

/// How many locks there can be: a number, or `unbounded`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bound(pub(super) Option<u64>);

impl Bound {
    pub(super) const DEFAULT: Self = Self(Some(128));
}

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("unbounded", _) => Ok(Self(None)),
            (_, Ok(0)) => Err("a store has at least one lock"),
            (_, Ok(number)) => Ok(Self(Some(number))),
            _ => Err("neither a number nor unbounded"),
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

    /// The mode of a file, from the bits that `fstat` reports.
    pub(super) fn of_file(bits: u32) -> Self {
        Self(bits & 0o666)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// The bits of a directory whose users may create files in it.
    pub(super) fn of_directory(self) -> u32 {
        self.0 | (self.0 >> 1 & 0o111)
    }

    /// Whether other users than the owner may write.
    pub(super) fn is_shared(self) -> bool {
        self.0 & 0o022 != 0
    }

    /// Whether this mode grants no other user the right to write that `limit` does not grant.
    pub(super) fn is_within(self, limit: Self) -> bool {
        self.0 & 0o022 & !limit.0 == 0
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(Self(mode)),
            _ => Err("an octal number such as 0600 or 0666 is expected"),
        }
    }
}

/// Whose files a process uses, beside its own and root's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trusted {
    /// Those of every user.
    pub(super) any: bool,
    /// Those of this group, and no others.
    pub(super) group: Option<u32>,
}

impl Trusted {
    /// Whether a file is one of those.
    pub(super) fn includes(self, facts: &Metadata) -> bool {
        let is_known = self.any || [0, geteuid().as_raw()].contains(&facts.uid());
        self.group.map_or(is_known, |group| facts.gid() == group)
    }
}

/// The mode bit of files that programs leave which remove what seems unused.
pub(super) const IN_USE: u32 = 0o1000;

/// Owner, group and mode of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) mode: u32,
}

impl Access {
    /// A file of its creator's alone.
    pub(crate) const DEFAULT: Self = Self { owner: None, group: None, mode: 0o600 };

    /// Those of the store's header, which what is made in the store gets, too.
    pub(super) fn of(facts: &Metadata) -> Self {
        // Only root gives files away.
        let owner = geteuid().is_root().then(|| facts.uid());
        Self { owner, group: Some(facts.gid()), mode: facts.mode() & 0o666 }
    }

    /// Gives them to a file that this process made. A group that it is not in is of no use to it.
    pub(super) fn give(self, file: &Path) -> io::Result<()> {
        match chown(file, self.owner, self.group) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
        fs::set_permissions(file, Permissions::from_mode(self.mode | IN_USE))
    }
}
