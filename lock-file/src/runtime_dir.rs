//! The user's runtime directory, `$XDG_RUNTIME_DIR`, which contains the stores of `file:NAME`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lock_core::{Error, Result, StoreUrl};

const REMEDY: &str = "set it to a directory of this user, or write file:/absolute/directory";

/// Returns the directory that the variable names.
///
/// # Errors
/// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl) if the variable is not set or is not an absolute path.
pub(crate) fn directory(url: &StoreUrl, variable: Option<PathBuf>) -> Result<PathBuf> {
    match variable {
        Some(path) if path.is_absolute() => Ok(path),
        Some(path) if !path.as_os_str().is_empty() => {
            Err(url.error(format!("XDG_RUNTIME_DIR is {path:?}, which is not an absolute path; {REMEDY}")))
        }
        _ => Err(url.error(format!("XDG_RUNTIME_DIR is not set, so a name has no directory; {REMEDY}"))),
    }
}

/// Checks that the directory exists and belongs to this user.
///
/// # Errors
/// - [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl) if it does not exist.
/// - [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) if it belongs to another user, or this user may not search its
///   parents.
pub(crate) fn check(url: &StoreUrl, path: &Path, user: u32) -> Result<()> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if meta.uid() == user => Ok(()),
        Ok(meta) => {
            let owner = meta.uid();
            let reason = format!("XDG_RUNTIME_DIR is {shown}, which belongs to user {owner}, not to user {user}; {REMEDY}");
            Err(Error::untrusted(reason))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(url.error(format!("XDG_RUNTIME_DIR is {shown}, which does not exist; {REMEDY}")))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let reason = format!("XDG_RUNTIME_DIR is {shown}, which user {user} may not access; {REMEDY}");
            Err(Error::untrusted(reason))
        }
        Err(error) => Err(Error::system("stat", error).at(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::geteuid;

    fn url() -> StoreUrl {
        "file:x".parse().unwrap()
    }

    #[test]
    fn a_directory_of_this_user_is_accepted() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(directory(&url(), Some(scratch.path().to_owned())).unwrap(), scratch.path());
        check(&url(), scratch.path(), geteuid().as_raw()).unwrap();
    }

    #[test]
    fn each_refusal_names_the_variable_its_value_and_the_remedy() {
        let scratch = tempfile::tempdir().unwrap();
        let refusals = [
            (directory(&url(), None).unwrap_err(), "is not set"),
            (directory(&url(), Some("".into())).unwrap_err(), "is not set"),
            (directory(&url(), Some("relative".into())).unwrap_err(), "\"relative\""),
            (check(&url(), &scratch.path().join("none"), 0).unwrap_err(), "/none, which does not exist"),
            (check(&url(), scratch.path(), geteuid().as_raw() + 1).unwrap_err(), "which belongs to user"),
        ];
        for (error, word) in refusals {
            let error = error.to_string();
            assert!(error.contains("XDG_RUNTIME_DIR") && error.contains(word) && error.ends_with(REMEDY), "{error}");
        }
    }
}
