//! The owner, the group and the mode of files.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use nix::sys::stat::FileStat;
use nix::unistd::{Group, User};

/// A trusted owner of a store's files, beside the caller and root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileOwner {
    /// Any user. The caller trusts every user that can create a file in the place of the store.
    Any,
    /// The user with this id. A store that root creates belongs to that user.
    User(u32),
}

/// The group of a store's files, by its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileGroup(u32);

impl FileGroup {
    /// The group with this id.
    pub const fn new(gid: u32) -> Self {
        Self(gid)
    }

    /// The id.
    pub const fn gid(self) -> u32 {
        self.0
    }
}

impl FromStr for FileOwner {
    type Err = String;

    /// Reads `any`, the id of a user, or the name of one that the system knows.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let find = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
        let uid = id(text).or_else(find);
        uid.map(Self::User).ok_or_else(|| "the system knows no such user; give a user's name or id, or `any`".to_owned())
    }
}

impl FromStr for FileGroup {
    type Err = String;

    /// Reads the id of a group, or the name of one that the system knows.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let find = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
        id(text).or_else(find).map(Self).ok_or_else(|| "the system knows no such group; give a group's name or id".to_owned())
    }
}

impl fmt::Display for FileOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::User(uid) => write!(f, "{uid}"),
        }
    }
}

impl fmt::Display for FileGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An id. The largest number stands for none in chown(2).
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// The owner, the group and the mode of a file or a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileAccess {
    /// The id of the owner.
    pub uid: u32,
    /// The id of the group.
    pub gid: u32,
    /// The permission bits, with those for set-user-id, set-group-id and sticky.
    pub mode: u32,
}

impl From<&FileStat> for FileAccess {
    fn from(status: &FileStat) -> Self {
        Self { uid: status.st_uid, gid: status.st_gid, mode: status.st_mode & 0o7777 }
    }
}

impl From<&Metadata> for FileAccess {
    fn from(status: &Metadata) -> Self {
        Self { uid: status.uid(), gid: status.gid(), mode: status.mode() & 0o7777 }
    }
}
