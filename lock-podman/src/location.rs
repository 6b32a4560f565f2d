use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lock_core::{Options, Result, StoreUrl};
use nix::unistd::geteuid;

/// The directory of podman's segments.
const DIRECTORY: &str = "/dev/shm";
/// The location that stands for the segment of a user.
const ROOTLESS: &str = "rootless";
/// The beginning of the name of a user's segment, before the user id.
const ROOTLESS_NAME: &str = "libpod_rootless_lock_";

/// Returns the path of the segment: a path, a name in `/dev/shm`, or the segment of a user.
///
/// # Errors
/// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
pub(crate) fn path(url: &StoreUrl, options: &mut Options<'_>) -> Result<PathBuf> {
    let uid: Option<u32> = options.take("uid")?;
    if url.location() == Path::new(ROOTLESS) {
        let uid = uid.unwrap_or_else(|| geteuid().as_raw());
        return Ok(Path::new(DIRECTORY).join(format!("{ROOTLESS_NAME}{uid}")));
    }
    if uid.is_some() {
        return Err(url.error(format!("the option uid is only for podman:{ROOTLESS}; remove it")));
    }
    if url.location().as_os_str().as_bytes().ends_with(b"/") {
        return Err(url.error("it ends with a slash, and a segment is a file; write podman:libpod_lock or podman:/path"));
    }
    url.path_in(|| Ok(DIRECTORY.into()))
}

/// Returns the user whose segment has this name, if it is that of a user.
pub(crate) fn user_of(path: &Path) -> Option<u32> {
    path.file_name().and_then(OsStr::to_str)?.strip_prefix(ROOTLESS_NAME)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use lock_core::ErrorKind;
    use rstest::rstest;

    use super::*;

    fn path_of(url: &str) -> Result<PathBuf> {
        let url: StoreUrl = url.parse()?;
        path(&url, &mut url.options())
    }

    #[rstest]
    #[case("podman:libpod_lock", "/dev/shm/libpod_lock")]
    #[case("podman:/run/x/lock", "/run/x/lock")]
    #[case("podman:rootless?uid=1000", "/dev/shm/libpod_rootless_lock_1000")]
    fn a_location_is_a_name_a_path_or_a_user(#[case] url: &str, #[case] expected: &str) {
        assert_eq!(path_of(url).unwrap(), Path::new(expected));
    }

    #[test]
    fn rootless_is_the_segment_of_the_calling_user() {
        let path = path_of("podman:rootless").unwrap();
        assert_eq!(user_of(&path), Some(geteuid().as_raw()));
        assert_eq!(user_of(Path::new("/dev/shm/libpod_lock")), None);
    }

    #[rstest]
    #[case("podman:")]
    #[case("podman:.hidden")]
    #[case("podman:/dev/shm/")]
    #[case("podman:libpod_lock?uid=1000")]
    fn other_locations_are_refused(#[case] url: &str) {
        assert_eq!(path_of(url).unwrap_err().kind(), ErrorKind::BadUrl);
    }
}
