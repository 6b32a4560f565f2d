//! Advice for system calls that fail on a file.
//!
//! It names the missing directory, the denied permission or the exhausted resource.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat, geteuid};

/// The maximum length of a file name, in bytes (limits.h(0p)).
pub(crate) const NAME_MAX: usize = 255;

/// Returns advice for the error of a call on a file, or `None` when the error text suffices.
pub(crate) fn for_system_error(error: &io::Error, file: &Path) -> Option<String> {
    match error.raw_os_error()? {
        libc::ENOENT => missing_directory(file).map(|directory| for_missing_directory(&directory)),
        libc::ENOTDIR => {
            let ancestor = ancestors(file).find(|path| path.exists() && !path.is_dir())?;
            Some(format!("{} is not a directory; use another path", ancestor.display()))
        }
        libc::EACCES => Some(for_denied_access(file)),
        libc::EPERM => Some(
            "a security policy or an attribute of the file or its directory (`lsattr`) forbids it; change the policy or the attribute, \
             or use another path"
                .to_owned(),
        ),
        libc::EROFS => Some("the file system is mounted read-only; use another path".to_owned()),
        libc::ENAMETOOLONG => {
            let longest = file.iter().map(OsStr::len).max().unwrap_or_default();
            Some(format!("the path contains a name of {longest} bytes; use names of at most {NAME_MAX} bytes"))
        }
        libc::ELOOP => Some("the path contains a symbolic link; use the path of its target".to_owned()),
        libc::EISDIR => Some("the path is a directory; add a file name".to_owned()),
        _ => None,
    }
}

/// Returns the exhausted resource of a file system, with advice, or `None` for other errors.
pub(crate) fn for_full_file_system(error: &io::Error, file: &Path) -> Option<String> {
    let file_system = format!("the file system of {}", file.display());
    match error.raw_os_error()? {
        libc::ENOSPC if has_no_inode(file) => Some(format!("no inode is left on {file_system}; remove files or add inodes")),
        libc::ENOSPC => Some(format!("no space is left on {file_system}; remove files or enlarge it")),
        libc::EDQUOT => Some(format!("the quota on {file_system} is exhausted; remove files or raise the quota")),
        _ => None,
    }
}

/// Returns the reason why an absent store cannot be created, with advice, or `None` when it can.
pub(crate) fn for_absent_store(file: &Path) -> Option<String> {
    if let Some(directory) = missing_directory(file) {
        return Some(for_missing_directory(&directory));
    }
    let directory = file.parent()?;
    match faccessat(AT_FDCWD, directory, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS) {
        Err(Errno::EACCES) => Some(format!("{} does not exist; {}", file.display(), may_not_create(directory))),
        Err(Errno::EROFS) => {
            let file = file.display();
            Some(format!("{file} does not exist, and its file system is mounted read-only; use another path"))
        }
        _ => None,
    }
}

/// Returns the first directory in the path of a file that does not exist.
fn missing_directory(file: &Path) -> Option<PathBuf> {
    let is_missing = |path: &&Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    ancestors(file).skip_while(|path| !is_missing(path)).find(is_missing).map(Path::to_owned)
}

/// Returns advice for a directory that does not exist.
fn for_missing_directory(directory: &Path) -> String {
    if ["/dev", "/dev/shm"].map(Path::new).contains(&directory) {
        return "the directory /dev/shm does not exist; mount a tmpfs there, or use a path, as in shm:/absolute/path".to_owned();
    }
    format!("the directory {} does not exist; create it, or use another path", directory.display())
}

/// Returns the reason why the caller has no access to the file, with advice.
fn for_denied_access(file: &Path) -> String {
    let user = geteuid();
    if let Some(directory) = ancestors(file).find(|directory| is_denied(directory, AccessFlags::X_OK)) {
        return format!("user {user} may not search {}; use another path, or run as its owner", with_permissions(directory));
    }
    if is_denied(file, AccessFlags::R_OK | AccessFlags::W_OK) {
        return format!("user {user} may not read and write {}; use another path, or run as its owner", with_permissions(file));
    }
    // The call tried to create an entry in the last directory that exists.
    match ancestors(file).filter(|directory| directory.exists()).last() {
        Some(directory) if !file.exists() && is_denied(directory, AccessFlags::W_OK) => may_not_create(directory),
        _ => "a security policy denies it (for example SELinux, AppArmor or seccomp); change the policy, or use another path"
            .to_owned(),
    }
}

fn may_not_create(directory: &Path) -> String {
    let user = geteuid();
    format!("user {user} may not create files in {}; use another path, or run as its owner", with_permissions(directory))
}

fn is_denied(path: &Path, access: AccessFlags) -> bool {
    faccessat(AT_FDCWD, path, access, AtFlags::AT_EACCESS) == Err(Errno::EACCES)
}

/// Formats a path with its owner, group and mode, where they are visible.
fn with_permissions(path: &Path) -> String {
    let facts = |meta: Metadata| format!(" (owner {}, group {}, mode {:04o})", meta.uid(), meta.gid(), meta.mode() & 0o7777);
    format!("{}{}", path.display(), fs::metadata(path).map(facts).unwrap_or_default())
}

/// Returns true if the file system has a limited number of inodes, and no free inode.
fn has_no_inode(file: &Path) -> bool {
    // The directory that the call tried to create may not exist, so take the nearest one that does.
    let facts = file.ancestors().skip(1).find_map(|directory| statvfs(directory).ok());
    facts.is_some_and(|facts| facts.files() > 0 && facts.files_available() == 0)
}

/// Returns the directories in the path of a file, starting with the root.
fn ancestors(file: &Path) -> impl Iterator<Item = &Path> {
    let mut ancestors: Vec<_> = file.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    ancestors.reverse();
    ancestors.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(errno: i32, file: &Path) -> String {
        for_system_error(&io::Error::from_raw_os_error(errno), file).unwrap_or_default()
    }

    #[test]
    fn the_first_missing_directory_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = scratch.path().join("none");
        let said = advice(libc::ENOENT, &missing.join("deeper/store"));
        assert_eq!(said, format!("the directory {} does not exist; create it, or use another path", missing.display()));
        assert_eq!(advice(libc::ENOENT, &scratch.path().join("store")), "");
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            advice(libc::ENOTDIR, &file.join("store")),
            format!("{} is not a directory; use another path", file.display())
        );
    }

    #[test]
    fn a_denial_without_a_missing_permission_is_attributed_to_a_policy() {
        let scratch = tempfile::tempdir().unwrap();
        let said = advice(libc::EACCES, &scratch.path().join("store"));
        assert!(said.contains("security policy"), "{said}");
    }

    #[test]
    fn the_length_of_a_long_name_and_the_limit_are_reported() {
        let said = advice(libc::ENAMETOOLONG, &Path::new("/tmp").join("x".repeat(300)));
        assert!(said.contains("300") && said.contains("255"), "{said}");
    }
}
