//! The default store: the store if none is named.
//!
//! All processes of a user must find the same store: with and without a session, in a user namespace, and by cron. No other user may
//! take its place. The directory is the first of these that applies:
//!
//! 1. for root, `/run/lockctl`
//! 2. `/dev/shm/lockctl-UID`, if the user has it already
//! 3. `$XDG_RUNTIME_DIR/lockctl`, if the variable names a directory of the user
//! 4. `/run/user/UID/lockctl`, if `/run/user/UID` is a directory of the user
//! 5. `/dev/shm/lockctl-UID`

use std::env;
use std::fs::{self, DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;

use lock_any::StoreUrl;
use nix::unistd::{Uid, User, geteuid};

use crate::exit::{ExitStatus, Failure};
use crate::sys;

/// The name of the store's file.
const FILE: &str = "locks";

/// What to do if there is no default store.
const ADVICE: &str = "give another store with --store or LOCKCTL_STORE";

/// The directory of the default store.
pub(crate) struct DefaultStore {
    directory: PathBuf,
    /// The owner of the directory, as this process sees it.
    owner: Uid,
}

impl DefaultStore {
    /// Finds the directory for the effective user, which need not exist.
    ///
    /// # Errors
    /// The directory belongs to another user, or others may write to it; or the user cannot be told in this user namespace.
    pub(crate) fn find() -> Result<Self, Failure> {
        let owner = geteuid();
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let Some(outer) = outer_uid(&map, owner.as_raw()) else {
            let text = format!(
                "user {owner} has no default store, because its user namespace does not map it to another user; {ADVICE}"
            );
            return Err(Failure::new(ExitStatus::NOT_PERMITTED, text));
        };
        // The environment of a set-user-id program is its caller's.
        let variable = if sys::is_privileged_program() { None } else { env::var_os("XDG_RUNTIME_DIR") };
        let store = Self { directory: directory(outer, owner, variable.map(PathBuf::from)), owner };
        store.check()?;
        Ok(store)
    }

    /// The URL of the store.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        Ok(StoreUrl::builder("shm").path(self.directory.join(FILE)).build()?.to_string())
    }

    /// Creates the directory for the user alone.
    ///
    /// # Errors
    /// As [`DefaultStore::find`]. A directory that cannot be created is an error of the creation of the store.
    pub(crate) fn create_directory(&self) -> Result<(), Failure> {
        let _ = DirBuilder::new().mode(0o700).create(&self.directory);
        self.check()
    }

    /// Checks that no other user can replace the store, if the directory exists.
    fn check(&self) -> Result<(), Failure> {
        let refusal = |reason: String| {
            let text = format!("the directory of the default store, {}, {reason}; {ADVICE}", self.directory.display());
            Err(Failure::new(ExitStatus::NOT_PERMITTED, text))
        };
        match fs::symlink_metadata(&self.directory) {
            Ok(found) if found.uid() != self.owner.as_raw() => {
                refusal(format!("belongs to {} and not to {}; remove it", name(found.uid()), name(self.owner.as_raw())))
            }
            Ok(found) if !found.is_dir() => refusal("is not a directory; remove it".to_owned()),
            Ok(found) if found.mode() & 0o022 != 0 => {
                refusal(format!("may be written by other users (mode {:04o}); chmod 0700 it", found.mode() & 0o7777))
            }
            // An error such as ENOENT is the error of opening the store.
            _ => Ok(()),
        }
    }
}

fn directory(outer: u32, owner: Uid, variable: Option<PathBuf>) -> PathBuf {
    if outer == 0 {
        return "/run/lockctl".into();
    }
    let own = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| is_private(&found, owner));
    let shared = PathBuf::from(format!("/dev/shm/lockctl-{outer}"));
    // Another user can make a symbolic link with this name.
    if fs::symlink_metadata(&shared).is_ok_and(|found| is_private(&found, owner)) {
        return shared;
    }
    let session = || Some(PathBuf::from(format!("/run/user/{outer}"))).filter(own);
    variable.filter(|path| path.is_absolute() && own(path)).or_else(session).map_or(shared, |runtime| runtime.join("lockctl"))
}

/// Returns true for a directory that only this user may write to.
fn is_private(found: &Metadata, owner: Uid) -> bool {
    found.is_dir() && found.uid() == owner.as_raw() && found.mode() & 0o022 == 0
}

/// Returns the uid outside of the user namespace, by `/proc/self/uid_map` (user_namespaces(7)).
///
/// Without `/proc`, there is no map, and the uid is taken for that of the initial namespace.
fn outer_uid(map: &str, uid: u32) -> Option<u32> {
    if map.is_empty() {
        return Some(uid);
    }
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = uid.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

fn name(uid: u32) -> String {
    match User::from_uid(uid.into()) {
        Ok(Some(user)) => format!("user {} ({uid})", user.name),
        _ => format!("user {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[test]
    fn a_uid_is_mapped_to_the_one_outside() {
        let initial = "         0          0 4294967295\n";
        assert_eq!(outer_uid(initial, 1000), Some(1000));
        assert_eq!(outer_uid("0 1000 1\n", 0), Some(1000));
        let container = "0 1000 1\n1 100000 65536\n";
        assert_eq!([0, 1, 65_536].map(|uid| outer_uid(container, uid)), [Some(1000), Some(100_000), Some(165_535)]);
        assert_eq!(outer_uid(container, 65_537), None);
        assert_eq!(outer_uid("", 7), Some(7));
    }

    #[test]
    fn the_runtime_directory_counts_if_it_is_absolute_and_private() {
        let (scratch, owner) = (tempfile::tempdir().unwrap(), geteuid());
        let of = |variable: &Path| directory(4_000_000_000, owner, Some(variable.to_owned()));
        let shared = PathBuf::from("/dev/shm/lockctl-4000000000");
        let set_mode = |mode| fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode)).unwrap();
        set_mode(0o700);
        assert_eq!(of(scratch.path()), scratch.path().join("lockctl"));
        for variable in ["", ".", "relative", "/none/such", "/dev/null"] {
            assert_eq!(of(Path::new(variable)), shared, "{variable:?}");
        }
        set_mode(0o770);
        assert_eq!(of(scratch.path()), shared);
        assert_eq!(directory(4_000_000_000, Uid::from_raw(owner.as_raw() + 1), Some(scratch.path().to_owned())), shared);
        assert_eq!(directory(0, owner, Some(scratch.path().to_owned())), PathBuf::from("/run/lockctl"));
    }
}
