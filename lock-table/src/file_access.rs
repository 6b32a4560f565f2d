//! The owner, the group and the mode of files.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use nix::sys::stat::FileStat;
use nix::unistd::{Group, User};

/// A user that is trusted as the owner of a store's files, in addition to the caller and root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileOwner {
    /// Any user. The caller trusts all users that can create a file at the path of the store.
    Any,
    /// The user with this id. A store that root creates belongs to that user.
    User(u32),
}

/// The group of a store's files, by its id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileGroup(u32);

impl FileGroup {
    /// Creates the group with this id.
    pub const fn new(gid: u32) -> Self {
        Self(gid)
    }

    /// Returns the id.
    pub const fn gid(self) -> u32 {
        self.0
    }
}

impl FromStr for FileOwner {
    type Err = String;

    /// Parses `any`, a user id, or the name of a user of the system.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let find = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
        let uid = id(text).or_else(find);
        uid.map(Self::User).ok_or_else(|| "there is no such user; give the name or the id of a user, or `any`".to_owned())
    }
}

impl FromStr for FileGroup {
    type Err = String;

    /// Parses a group id, or the name of a group of the system.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let find = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
        id(text).or_else(find).map(Self).ok_or_else(|| "there is no such group; give the name or the id of a group".to_owned())
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

/// Parses an id. The largest number is not an id: chown(2) uses it for "no change".
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
    /// The mode bits: permissions, set-user-id, set-group-id and sticky.
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
