//! The rule for the owner, the group and the mode of a store's files.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, fchown, geteuid};

use crate::file_access::{FileAccess, FileOwner};
use crate::options::TableOptions;
use lock_core::{Error, Result};

/// The mode bits for write access of the group, and of all other users.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

impl TableOptions {
    /// Checks the owner, the group and the mode of a file or a directory of the store.
    ///
    /// Trusted owners are the caller, root, and the user of [`TableOptions::owner`]. Any other owner is accepted in two cases:
    /// - The file has the group of [`TableOptions::group`].
    /// - The options let the group write, and the directory of the file has a trusted owner, has the group of the file, and is not
    ///   writable by other users.
    ///
    /// `directory` returns the owner, the group and the mode of the directory, or `None` if they are unknown. It is called only in the
    /// second case.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) with the path, its owner, group or mode, and the option to add.
    pub fn check_access(&self, path: &Path, found: FileAccess, directory: impl FnOnce() -> Option<FileAccess>) -> Result<()> {
        let allowed = self.permissions().bits();
        let path = path.display();
        if let Some(group) = self.group.filter(|group| group.gid() != found.gid) {
            let (found, group) = (name_of_group(found.gid), name_of_group(group.gid()));
            let reason = format!("{path} has the group {found}, not {group}; change the option group, or the group of the file");
            return Err(untrusted(reason));
        }
        let is_of_group = self.group.is_some();
        let is_in_groups_directory = || {
            allowed & GROUP_WRITES != 0
                && directory().is_some_and(|directory| {
                    self.trusts(directory.uid) && directory.gid == found.gid && directory.mode & OTHERS_WRITE == 0
                })
        };
        if !self.trusts(found.uid) && !is_of_group && !is_in_groups_directory() {
            let (owner, us) = (name_of_user(found.uid), name_of_user(geteuid().as_raw()));
            let reason = format!(
                "{path} belongs to user {owner}, not to user {us}; if you trust that user, add owner={} to the store's URL, or \
                 group=GROUP to trust the members of a group",
                found.uid
            );
            return Err(untrusted(reason));
        }
        if found.mode & (GROUP_WRITES | OTHERS_WRITE) & !allowed != 0 {
            let mode = found.mode & 0o777;
            let asked = found.mode & 0o666;
            return Err(untrusted(format!(
                "other users may write to {path} (mode {mode:04o}); change its mode, or add mode={asked:04o} to the store's URL"
            )));
        }
        Ok(())
    }

    /// Sets the owner and the group of a new file or directory to those of these options.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) when the caller has no permission;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn give(&self, file: BorrowedFd<'_>) -> Result<()> {
        if let Some(group) = self.group {
            match fchown(file.as_fd(), None, Some(Gid::from_raw(group.gid()))) {
                Err(Errno::EPERM | Errno::EINVAL) => {
                    let (us, group) = (name_of_user(geteuid().as_raw()), name_of_group(group.gid()));
                    return Err(Error::unsupported(format!(
                        "user {us} is not a member of the group {group} and cannot create a store for it; create it as a member or root"
                    )));
                }
                done => done.map_err(|errno| Error::system("fchown", errno))?,
            }
        }
        match self.owner {
            Some(FileOwner::User(uid)) if uid != geteuid().as_raw() => match fchown(file, Some(Uid::from_raw(uid)), None) {
                Err(Errno::EPERM | Errno::EINVAL) => {
                    let (us, owner) = (name_of_user(geteuid().as_raw()), name_of_user(uid));
                    Err(Error::unsupported(format!(
                        "user {us} cannot create a store that belongs to user {owner}; create it as {owner} or root"
                    )))
                }
                done => done.map_err(|errno| Error::system("fchown", errno)),
            },
            _ => Ok(()),
        }
    }

    /// Returns true if the caller trusts this user.
    fn trusts(&self, uid: u32) -> bool {
        let named = match self.owner {
            Some(FileOwner::Any) => true,
            Some(FileOwner::User(owner)) => owner == uid,
            None => false,
        };
        named || uid == 0 || uid == geteuid().as_raw()
    }
}

/// Returns the name and the id of a user, or only the id if the system has no such user.
fn name_of_user(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| format!("{} ({uid})", user.name))
}

fn name_of_group(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| format!("{} ({gid})", group.name))
}

fn untrusted(reason: String) -> Error {
    Error::untrusted(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_access::FileGroup;
    use crate::options::Mode;
    use rstest::rstest;

    /// Ids that no account of the machine is expected to have.
    const STRANGER: u32 = 59_001;
    const GROUP: u32 = 59_003;

    fn options(mode: &str, owner: Option<&str>, group: Option<u32>) -> TableOptions {
        let mode: Mode = mode.parse().unwrap();
        TableOptions {
            mode: Some(mode),
            owner: owner.map(|owner| owner.parse().unwrap()),
            group: group.map(FileGroup::new),
            ..TableOptions::default()
        }
    }

    #[rstest]
    #[case::mode_alone("0666", None, None, false)]
    #[case::any_owner("0666", Some("any"), None, true)]
    #[case::that_owner("0666", Some("59001"), None, true)]
    #[case::another_owner("0666", Some("59002"), None, false)]
    #[case::the_files_group("0660", None, Some(GROUP), true)]
    #[case::another_group("0660", None, Some(GROUP + 1), false)]
    #[case::private_and_that_owner("0600", Some("59001"), None, true)]
    fn a_file_of_another_user_is_accepted_only_with_its_owner_or_group_in_the_options(
        #[case] mode: &str,
        #[case] owner: Option<&str>,
        #[case] group: Option<u32>,
        #[case] accepted: bool,
    ) {
        let found = FileAccess { uid: STRANGER, gid: GROUP, mode: mode.parse::<Mode>().unwrap().bits() };
        let checked = options(mode, owner, group).check_access(Path::new("/x/store"), found, || None);
        assert_eq!(checked.is_ok(), accepted, "{checked:?}");
        if let Err(error) = checked {
            assert!(error.to_string().contains("/x/store"), "{error}");
        }
    }

    #[rstest]
    #[case::of_root("0660", (0, GROUP, 0o2770), true)]
    #[case::others_can_read("0660", (0, GROUP, 0o2775), true)]
    #[case::others_can_write("0660", (0, GROUP, 0o3777), false)]
    #[case::of_a_stranger("0660", (STRANGER, GROUP, 0o2770), false)]
    #[case::of_another_group("0660", (0, 0, 0o770), false)]
    #[case::no_group_is_asked_for("0600", (0, GROUP, 0o2770), false)]
    fn files_in_a_directory_of_their_group_are_accepted(
        #[case] mode: &str,
        #[case] (uid, gid, bits): (u32, u32, u32),
        #[case] accepted: bool,
    ) {
        let found = FileAccess { uid: STRANGER, gid: GROUP, mode: 0o600 };
        let directory = || Some(FileAccess { uid, gid, mode: bits });
        let checked = options(mode, None, None).check_access(Path::new("store"), found, directory);
        assert_eq!(checked.is_ok(), accepted, "{checked:?}");
    }

    #[test]
    fn an_error_names_the_owner_and_the_option_to_add() {
        let found = FileAccess { uid: STRANGER, gid: 0, mode: 0o666 };
        let error = options("0666", None, None).check_access(Path::new("/x/store"), found, || None);
        let text = error.unwrap_err().to_string();
        assert!(["/x/store", "user 59001", "owner=59001", "group=GROUP"].iter().all(|part| text.contains(part)), "{text}");
    }

    #[test]
    fn owners_and_groups_parse_names_and_numbers() {
        assert_eq!("root".parse(), Ok(FileOwner::User(0)));
        assert_eq!("any".parse(), Ok(FileOwner::Any));
        assert_eq!("0".parse(), Ok(FileGroup::new(0)));
        assert!("4294967295".parse::<FileOwner>().is_err());
        assert!("no-such-group-here".parse::<FileGroup>().unwrap_err().contains("no such group"));
    }
}
