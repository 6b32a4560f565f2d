use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use lock_core::{Error, ErrorKind, Result, StoreId};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};

use crate::beneath;

const RUN: &str = "/run";

/// Where the file of a container's lock is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LockPath {
    /// LXC's run directory.
    rundir: PathBuf,
    /// The path of the file from there.
    below: PathBuf,
    whole: PathBuf,
}

impl LockPath {
    /// `$rundir/lxc/lock/$lxcpath/.$name`.
    pub(super) fn new(rundir: &Path, lxcpath: &Path, name: &str) -> Result<Self> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Error::unsupported(format!("{name:?} is not the name of a container")));
        }
        let mut below = PathBuf::from("lxc/lock");
        for component in lxcpath.components() {
            match component {
                Component::Normal(part) => below.push(part),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(Error::unsupported(
                        "LXC's lock of a path with `..` in it depends on what is there; write it without",
                    ));
                }
            }
        }
        below.push(format!(".{name}"));
        Ok(Self { rundir: rundir.to_owned(), whole: rundir.join(&below), below })
    }

    pub(super) fn file(&self) -> &Path {
        &self.whole
    }

    /// A number for the lock, the same wherever its path is (FNV-1a).
    pub(super) fn identity(&self) -> StoreId {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        let bytes = self.whole.as_os_str().as_encoded_bytes();
        StoreId::new(bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME)))
    }

    /// Opens the file. Below the run directory no link is followed.
    pub(super) fn open(&self, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
        let directory = openat(AT_FDCWD, &self.rundir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        beneath::open(directory, &self.below, flags, mode)
    }

    /// The directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.whole.parent().unwrap_or(Path::new(RUN))
    }

    /// Makes what is missing of the directories, as LXC does.
    ///
    /// # Errors
    /// [`ErrorKind::NotOurs`] when one of them is a symbolic link.
    pub(super) fn make_directories(&self) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.rundir).map_err(|error| self.not_made(error))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = openat(AT_FDCWD, &self.rundir, flags, Mode::empty()).map_err(|error| self.not_made(error))?;
        let parts = self.below.parent().map(Path::components).into_iter().flatten();
        for part in parts {
            match mkdirat(&at, part.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.not_made(errno)),
            }
            at = match openat(&at, part.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty()) {
                Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(self.linked()),
                opened => opened.map_err(|error| self.not_made(error))?,
            };
        }
        Ok(())
    }

    fn not_made(&self, error: impl Into<io::Error>) -> Error {
        Error::refused("mkdir", error).at(self.directory())
    }

    /// The error of a path that has a link in it.
    pub(super) fn linked(&self) -> Error {
        let (file, rundir) = (self.whole.display(), self.rundir.display());
        ErrorKind::NotOurs { reason: format!("{file} is a symbolic link, or a part of it below {rundir} is") }.into()
    }
}

/// LXC's run directory for this user.
pub(super) fn rundir() -> Result<PathBuf> {
    let owner = fs::metadata(RUN).ok().map(|meta| (meta.uid(), meta.gid()));
    let us = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    choose(owner, us, std::env::var_os("XDG_RUNTIME_DIR"), std::env::var_os("HOME"))
}

/// `get_rundir` of LXC; `owner` is the user and the group of `/run`.
fn choose(owner: Option<(u32, u32)>, us: (u32, u32), runtime: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    if owner.is_some_and(|(user, group)| user == us.0 || group == us.1) {
        return Ok(RUN.into());
    }
    let home = || home.map(|home| Path::new(&home).join(".cache/lxc/run"));
    runtime
        .map(PathBuf::from)
        .or_else(home)
        .ok_or_else(|| Error::unsupported("LXC has no place for locks where neither XDG_RUNTIME_DIR nor HOME is set; set one"))
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
    fn the_run_directory_is_lxcs(
        #[case] owner: Option<(u32, u32)>,
        #[case] us: (u32, u32),
        #[case] runtime: Option<&str>,
        #[case] expected: &str,
    ) {
        let found = choose(owner, us, runtime.map(Into::into), Some("/home/u".into())).unwrap();
        assert_eq!(found, Path::new(expected));
    }

    #[test]
    fn without_any_directory_it_says_what_to_set() {
        let error = choose(Some((0, 0)), USER, None, None).unwrap_err().to_string();
        assert!(error.contains("XDG_RUNTIME_DIR"), "{error}");
    }

    #[rstest]
    #[case("/var/lib/lxc", "/run/lxc/lock/var/lib/lxc/.web")]
    #[case("/var/lib/lxc/", "/run/lxc/lock/var/lib/lxc/.web")]
    #[case("relative", "/run/lxc/lock/relative/.web")]
    fn the_file_is_where_lxc_has_it(#[case] lxcpath: &str, #[case] expected: &str) {
        let path = LockPath::new(Path::new("/run"), Path::new(lxcpath), "web").unwrap();
        assert_eq!(path.file(), Path::new(expected));
    }

    #[rstest]
    #[case("/var/lib/lxc", "")]
    #[case("/var/lib/lxc", "a/b")]
    #[case("/var/../lxc", "web")]
    fn what_would_lead_elsewhere_is_refused(#[case] lxcpath: &str, #[case] name: &str) {
        LockPath::new(Path::new("/run"), Path::new(lxcpath), name).unwrap_err();
    }
}
