//! Opens files below a directory without following symbolic links.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode as Bits;

/// Opens a path below a directory.
///
/// # Errors
/// - ELOOP if a component of the path is a symbolic link; without `openat2`, ENOTDIR for a component other than the last.
/// - EXDEV if the path leads out of the directory.
pub(crate) fn open(directory: impl AsFd, path: &Path, flags: OFlag, mode: Bits) -> Result<OwnedFd, Errno> {
    match open_by_openat2(&directory, path, flags, mode) {
        // Linux before 5.6, a seccomp filter that does not know `openat2`, or a concurrent rename.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN) => open_by_components(directory, path, flags, mode),
        done => done,
    }
}

fn open_by_openat2(directory: impl AsFd, path: &Path, flags: OFlag, mode: Bits) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let mut how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).resolve(resolve);
    // `openat2` refuses a mode without O_CREAT.
    if flags.contains(OFlag::O_CREAT) {
        how = how.mode(mode);
    }
    openat2(directory, path, how)
}

fn open_by_components(directory: impl AsFd, path: &Path, flags: OFlag, mode: Bits) -> Result<OwnedFd, Errno> {
    let last = path.file_name().ok_or(Errno::EINVAL)?;
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        None => openat(directory, last, flags, mode),
        Some(parent) => openat(walk(directory, parent)?, last, flags, mode),
    }
}

/// Opens a directory below a directory, one component at a time.
fn walk(directory: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = None;
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(Errno::EXDEV) };
        at = Some(match &at {
            None => openat(&directory, name, flags, Bits::empty())?,
            Some(at) => openat(at, name, flags, Bits::empty())?,
        });
    }
    at.ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    fn by_openat2(directory: &File, path: &Path, flags: OFlag, mode: Bits) -> Result<OwnedFd, Errno> {
        open_by_openat2(directory, path, flags, mode)
    }

    fn by_components(directory: &File, path: &Path, flags: OFlag, mode: Bits) -> Result<OwnedFd, Errno> {
        open_by_components(directory, path, flags, mode)
    }

    #[rstest]
    #[case(by_openat2)]
    #[case(by_components)]
    fn links_are_refused_and_nothing_is_created_outside(#[case] open: fn(&File, &Path, OFlag, Bits) -> Result<OwnedFd, Errno>) {
        let scratch = tempfile::tempdir().unwrap();
        let (store, elsewhere) = (scratch.path().join("store"), scratch.path().join("elsewhere"));
        fs::create_dir_all(store.join("a/b")).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, store.join("link")).unwrap();
        symlink(elsewhere.join("file"), store.join("a/b/dangling")).unwrap();
        symlink("b", store.join("a/inside")).unwrap();
        let directory = File::open(&store).unwrap();
        let create = OFlag::O_RDWR | OFlag::O_CREAT;
        let bits = Bits::from_bits_truncate(0o600);
        for path in ["link/file", "a/b/dangling", "a/inside/file", "../elsewhere/file", "a/../../elsewhere/file"] {
            let errno = open(&directory, Path::new(path), create, bits).unwrap_err();
            assert!(matches!(errno, Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV), "{path}: {errno}");
        }
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert_eq!(open(&directory, Path::new("a/x/file"), create, bits).unwrap_err(), Errno::ENOENT);
        open(&directory, Path::new("a/b/file"), create, bits).unwrap();
        open(&directory, Path::new("top"), create, bits).unwrap();
        assert!(store.join("a/b/file").is_file() && store.join("top").is_file());
    }
}
