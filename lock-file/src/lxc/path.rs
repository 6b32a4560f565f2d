use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use lock_core::{Error, Result, StoreId};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::beneath;

const RUN: &str = "/run";

/// The path of a lock's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LockPath {
    /// LXC's run directory.
    rundir: PathBuf,
    /// The path relative to the run directory.
    relative: PathBuf,
    absolute: PathBuf,
}

impl LockPath {
    /// Returns `$rundir/lxc/lock/$lxcpath/.$name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) if the name is empty or contains a slash or NUL, or if
    /// `lxcpath` contains `..`.
    pub(super) fn new(rundir: &Path, lxcpath: &Path, name: &str) -> Result<Self> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Error::unsupported(format!("{name:?} is not the name of a container; use one without a slash")));
        }
        let mut relative = PathBuf::from("lxc/lock");
        for component in lxcpath.components() {
            match component {
                Component::Normal(part) => relative.push(part),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(Error::unsupported(
                        "the path contains `..`, so LXC's lock depends on symbolic links; write the path without it",
                    ));
                }
            }
        }
        relative.push(format!(".{name}"));
        Ok(Self { rundir: rundir.to_owned(), absolute: rundir.join(&relative), relative })
    }

    /// Returns the path of the file.
    pub(super) fn file(&self) -> &Path {
        &self.absolute
    }

    /// Returns a hash of the path (FNV-1a), which identifies the lock in every process.
    pub(super) fn identity(&self) -> StoreId {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        let bytes = self.absolute.as_os_str().as_encoded_bytes();
        StoreId::new(bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME)))
    }

    /// Opens the file. Follows no symbolic link below the run directory.
    pub(super) fn open(&self, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let directory = openat(AT_FDCWD, &self.rundir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        beneath::open(directory, &self.relative, flags, mode)
    }

    /// Returns the directory that contains the file.
    pub(super) fn directory(&self) -> &Path {
        self.absolute.parent().unwrap_or(Path::new(RUN))
    }

    /// Creates the missing directories, with the mode that LXC gives them.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](lock_core::ErrorKind::Untrusted) if one of them is a symbolic link.
    pub(super) fn create_directories(&self) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.rundir).map_err(|error| self.creation_error(error))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = openat(AT_FDCWD, &self.rundir, flags, Mode::empty()).map_err(|error| self.creation_error(error))?;
        let parts = self.relative.parent().map(Path::components).into_iter().flatten();
        for part in parts {
            match mkdirat(&at, part.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.creation_error(errno)),
            }
            at = match openat(&at, part.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty()) {
                Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.symbolic_link()),
                opened => opened.map_err(|error| self.creation_error(error))?,
            };
        }
        Ok(())
    }

    fn creation_error(&self, error: impl Into<io::Error>) -> Error {
        Error::system("mkdir", error).at(self.directory())
    }

    /// Returns the error for a path that contains a symbolic link.
    pub(super) fn symbolic_link(&self) -> Error {
        let (file, rundir) = (self.absolute.display(), self.rundir.display());
        Error::untrusted(format!("the path {file} contains a symbolic link below {rundir}; remove it"))
    }
}

/// Returns LXC's run directory for this user.
pub(super) fn rundir() -> Result<PathBuf> {
    let owner = fs::metadata(RUN).ok().map(|meta| (meta.uid(), meta.gid()));
    let user = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    choose(owner, user, std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("HOME"))
}

/// Chooses the run directory by the rule of LXC's `get_rundir`.
///
/// `owner` is the user and group of `/run`.
fn choose(owner: Option<(u32, u32)>, user: (u32, u32), runtime: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    if owner.is_some_and(|(uid, gid)| uid == user.0 || gid == user.1) {
        return Ok(RUN.into());
    }
    let home = || home.map(|home| Path::new(&home).join(".cache/lxc/run"));
    runtime.map(PathBuf::from).or_else(home).ok_or_else(|| {
        Error::unsupported("LXC has no run directory because neither XDG_RUNTIME_DIR nor HOME is set; set one of them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const USER: (u32, u32) = (1000, 1000);

    #[rstest]
    #[case(Some((0, 0)), (0, 0), Some("/run/user/0"), "/run")]
    #[case(Some((0, 1000)), USER, Some("/run/user/1000"), "/run")]
    #[case(Some((0, 0)), USER, Some("/run/user/1000"), "/run/user/1000")]
    #[case(Some((0, 0)), USER, None, "/home/u/.cache/lxc/run")]
    #[case(None, (0, 0), None, "/home/u/.cache/lxc/run")]
    fn the_run_directory_follows_the_rule_of_lxc(
        #[case] owner: Option<(u32, u32)>,
        #[case] user: (u32, u32),
        #[case] runtime: Option<&str>,
        #[case] expected: &str,
    ) {
        let found = choose(owner, user, runtime.map(Into::into), Some("/home/u".into())).unwrap();
        assert_eq!(found, Path::new(expected));
    }

    #[test]
    fn the_error_without_a_run_directory_names_the_variable_to_set() {
        let error = choose(Some((0, 0)), USER, None, None).unwrap_err().to_string();
        assert!(error.contains("XDG_RUNTIME_DIR"), "{error}");
    }

    #[rstest]
    #[case("/var/lib/lxc", "/run/lxc/lock/var/lib/lxc/.web")]
    #[case("/var/lib/lxc/", "/run/lxc/lock/var/lib/lxc/.web")]
    #[case("relative", "/run/lxc/lock/relative/.web")]
    fn the_path_is_that_of_lxc(#[case] lxcpath: &str, #[case] expected: &str) {
        let path = LockPath::new(Path::new("/run"), Path::new(lxcpath), "web").unwrap();
        assert_eq!(path.file(), Path::new(expected));
    }

    #[rstest]
    #[case("/var/lib/lxc", "")]
    #[case("/var/lib/lxc", "a/b")]
    #[case("/var/../lxc", "web")]
    fn names_and_paths_that_lxc_does_not_accept_are_refused(#[case] lxcpath: &str, #[case] name: &str) {
        LockPath::new(Path::new("/run"), Path::new(lxcpath), name).unwrap_err();
    }
}
