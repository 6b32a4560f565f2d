//! Advice on a system call that failed on a file: the missing directory, the denying owner, the exhausted resource.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat, geteuid};

/// The longest name of a file, in bytes.
pub(crate) const LONGEST_NAME: usize = 255;

/// What to do about this error of a call on the file; `None` where the error says all there is.
pub(crate) fn on_file(error: &io::Error, file: &Path) -> Option<String> {
    match error.raw_os_error()? {
        libc::ENOENT => missing_directory(file).map(|directory| no_directory(&directory)),
        libc::ENOTDIR => {
            let ancestors = ancestors(file).find(|path| path.exists() && !path.is_dir())?;
            Some(format!("{} is not a directory; use another path", ancestors.display()))
        }
        libc::EACCES => Some(denial(file)),
        libc::EPERM => Some(
            "a security policy, or an attribute of the file or its directory (`lsattr`), does not permit it; change that, or use another \
             path"
                .to_owned(),
        ),
        libc::EROFS => Some("the file system is mounted read-only; use another path".to_owned()),
        libc::ENAMETOOLONG => {
            let longest = file.iter().map(OsStr::len).max().unwrap_or_default();
            Some(format!("the longest name in it has {longest} bytes; use names of at most {LONGEST_NAME}"))
        }
        libc::ELOOP => Some("a part of the path is a symbolic link; use the path that it leads to".to_owned()),
        libc::EISDIR => Some("it is a directory; add a file's name to the path".to_owned()),
        _ => None,
    }
}

/// Which limit was met by a call on the file, and what to do; `None` for other errors than those about room.
pub(crate) fn on_room(error: &io::Error, file: &Path) -> Option<String> {
    let file_system = format!("the file system of {}", file.display());
    match error.raw_os_error()? {
        libc::ENOSPC if has_no_inode(file) => {
            Some(format!("no inode is left on {file_system}; remove files there, or give it more"))
        }
        libc::ENOSPC => Some(format!("no space is left on {file_system}; free some, or give it more")),
        libc::EDQUOT => Some(format!("the quota on {file_system} is used up; free some, or have it raised")),
        _ => None,
    }
}

/// Why a store whose file does not exist cannot just be created; `None` where it can.
pub(crate) fn on_absent(file: &Path) -> Option<String> {
    if let Some(directory) = missing_directory(file) {
        return Some(no_directory(&directory));
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

/// The first directory on the way to a file that does not exist.
fn missing_directory(file: &Path) -> Option<PathBuf> {
    let is_missing = |path: &&Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    ancestors(file).skip_while(|path| !is_missing(path)).find(is_missing).map(Path::to_owned)
}

/// What to do where this directory does not exist.
fn no_directory(directory: &Path) -> String {
    if ["/dev", "/dev/shm"].map(Path::new).contains(&directory) {
        return "the directory /dev/shm does not exist; mount a tmpfs there, or give the store's path, as in shm:/absolute/path"
            .to_owned();
    }
    format!("the directory {} does not exist; create it, or use another path", directory.display())
}

/// Why the caller has no access to the file.
fn denial(file: &Path) -> String {
    let user = geteuid();
    if let Some(directory) = ancestors(file).find(|directory| is_denied(directory, AccessFlags::X_OK)) {
        return format!("user {user} may not search {}; use another path, or run as its owner", described(directory));
    }
    if is_denied(file, AccessFlags::R_OK | AccessFlags::W_OK) {
        return format!("user {user} may not read and write {}; use another path, or run as its owner", described(file));
    }
    // The last directory that exists is the one in which something was to be created.
    match ancestors(file).filter(|directory| directory.exists()).last() {
        Some(directory) if !file.exists() && is_denied(directory, AccessFlags::W_OK) => may_not_create(directory),
        _ => "a security policy denies it (SELinux, AppArmor, seccomp or the like); change the policy, or use another path"
            .to_owned(),
    }
}

fn may_not_create(directory: &Path) -> String {
    let user = geteuid();
    format!("user {user} may not create files in {}; use another path, or run as its owner", described(directory))
}

fn is_denied(path: &Path, access: AccessFlags) -> bool {
    faccessat(AT_FDCWD, path, access, AtFlags::AT_EACCESS) == Err(Errno::EACCES)
}

/// A path with its owner and its mode, where they are visible.
fn described(path: &Path) -> String {
    let facts = |meta: Metadata| format!(" (owner {}, group {}, mode {:04o})", meta.uid(), meta.gid(), meta.mode() & 0o7777);
    format!("{}{}", path.display(), fs::metadata(path).map(facts).unwrap_or_default())
}

/// Whether the file system can have files and has room for no other one.
fn has_no_inode(file: &Path) -> bool {
    // A directory of the path may be what was not made.
    let facts = file.ancestors().skip(1).find_map(|directory| statvfs(directory).ok());
    facts.is_some_and(|facts| facts.files() > 0 && facts.files_available() == 0)
}

/// The directories on the way to a file, from the root on.
fn ancestors(file: &Path) -> impl Iterator<Item = &Path> {
    let mut ancestors: Vec<_> = file.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    ancestors.reverse();
    ancestors.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(errno: i32, file: &Path) -> String {
        on_file(&io::Error::from_raw_os_error(errno), file).unwrap_or_default()
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
    fn a_file_on_the_way_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(
            advice(libc::ENOTDIR, &file.join("store")),
            format!("{} is not a directory; use another path", file.display())
        );
    }

    #[test]
    fn a_denial_that_no_permission_explains_is_a_policy() {
        let scratch = tempfile::tempdir().unwrap();
        let said = advice(libc::EACCES, &scratch.path().join("store"));
        assert!(said.contains("security policy"), "{said}");
    }

    #[test]
    fn a_name_that_is_too_long_is_told_with_both_lengths() {
        let said = advice(libc::ENAMETOOLONG, &Path::new("/tmp").join("x".repeat(300)));
        assert!(said.contains("300") && said.contains("255"), "{said}");
    }
}
