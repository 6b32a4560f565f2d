//! The lock that a command names: a path, or a lock of a store by its id or its name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use lock_any::{Allocation, Lock, LockId, Store};

use crate::exit::{ExitStatus, Failure};

/// The lock of `run`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// A file or a directory.
    Path(PathBuf),
    /// A lock of the store.
    Id(LockId),
    /// The lock of the store with this name, which is allocated on first use.
    Name(String),
    /// A lock that is allocated for the run, with a label.
    New { label: String },
    /// The only lock of the store.
    Single,
}

impl Target {
    /// Reads a word: a word with a slash, `.` and `..` are paths, a word of digits is an id, and any other is a name.
    pub(crate) fn parse(word: &OsStr) -> Result<Self, Failure> {
        if word.is_empty() {
            return Err(Failure::new(ExitStatus::ABSENT, "the lock is an empty word; give a path, an id or a name"));
        }
        if word.as_bytes().contains(&b'/') || word == "." || word == ".." {
            return Ok(Self::Path(word.into()));
        }
        Ok(match Key::parse(word)? {
            Key::Id(id) => Self::Id(id),
            Key::Name(name) => Self::Name(name),
        })
    }
}

/// A lock of a store, by its id or its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    Id(LockId),
    Name(String),
}

impl Key {
    /// Reads a word of digits as an id, and any other as a name.
    pub(crate) fn parse(word: &OsStr) -> Result<Self, Failure> {
        let Some(text) = word.to_str() else {
            let message = format!("the name of a lock is not UTF-8: {word:?}; give a path with a slash, or another name");
            return Err(Failure::new(ExitStatus::USAGE, message));
        };
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        let out_of_range = |_| {
            let message = format!("the id {text} is out of range; ids are below {}", LockId::LIMIT);
            Failure::new(ExitStatus::BAD_ID, message)
        };
        Ok(Self::Id(text.parse().map_err(out_of_range)?))
    }

    /// Returns the lock. A name must be allocated: a search does not allocate it.
    pub(crate) fn find(&self, store: &Store) -> Result<Lock, Failure> {
        let name = match self {
            Self::Id(id) => return Ok(store.retrieve(*id)?),
            Self::Name(name) => name,
        };
        while let Some(allocation) = allocation_of(name, store)? {
            let lock = store.retrieve(allocation.id)?;
            // The id may have been freed and allocated again before the handle was created.
            if lock.generation() == allocation.generation {
                return Ok(lock);
            }
        }
        let message = format!("there is no lock with the name {name:?} in {}; `lockctl list` shows the names", store.url());
        Err(Failure::new(ExitStatus::BAD_ID, message))
    }
}

fn allocation_of(name: &str, store: &Store) -> Result<Option<Allocation>, Failure> {
    for allocation in store.iter_allocated() {
        let allocation = allocation?;
        if allocation.is_named && allocation.label.as_str() == name {
            return Ok(Some(allocation));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/run/lock", Target::Path("/run/lock".into()))]
    #[case("./3", Target::Path("./3".into()))]
    #[case("dir/", Target::Path("dir/".into()))]
    #[case(".", Target::Path(".".into()))]
    #[case("..", Target::Path("..".into()))]
    #[case("0", Target::Id(LockId::new(0)))]
    #[case("007", Target::Id(LockId::new(7)))]
    #[case("4294967295", Target::Id(LockId::new(u32::MAX)))]
    #[case("nightly", Target::Name("nightly".to_owned()))]
    #[case("1e3", Target::Name("1e3".to_owned()))]
    #[case("+3", Target::Name("+3".to_owned()))]
    #[case("backup.lock", Target::Name("backup.lock".to_owned()))]
    fn a_word_is_a_path_an_id_or_a_name(#[case] word: &str, #[case] target: Target) {
        assert_eq!(Target::parse(OsStr::new(word)).unwrap(), target);
    }

    #[test]
    fn an_id_that_is_too_large_and_a_name_that_is_not_utf_8_are_refused() {
        assert_eq!(Target::parse(OsStr::new("4294967296")).unwrap_err().status, ExitStatus::BAD_ID);
        assert_eq!(Target::parse(OsStr::from_bytes(b"n\xff")).unwrap_err().status, ExitStatus::USAGE);
        assert_eq!(Target::parse(OsStr::from_bytes(b"./n\xff")).unwrap(), Target::Path(OsStr::from_bytes(b"./n\xff").into()));
    }
}
