//! Files to lock: opened by path, or inherited as a descriptor.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lock_any::{Deadline, HeldBy};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;

use crate::exit::{ExitStatus, Failure};
use crate::sys;

use super::holders;
use super::kind::Kind;
use super::wait;

/// An open file to lock.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    kinds: [Kind; 2],
    /// The path or the number of the descriptor, for messages.
    name: String,
    /// `None` for a descriptor that was inherited.
    path: Option<PathBuf>,
}

/// The reason why a lock was not acquired.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another program held it until the deadline.
    Busy {
        name: String,
        held_by: HeldBy,
    },
    Failed(Failure),
}

impl OpenFile {
    /// Opens a file or a directory as flock(1) does, which creates an absent file with the mode 0666 and the umask.
    pub(crate) fn at(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = open(path).map_err(|error| {
            let status = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => ExitStatus::SYSTEM,
                Some(Errno::EROFS | Errno::ENOSPC) => ExitStatus::CANNOT_CREATE,
                _ => ExitStatus::ABSENT,
            };
            let advice = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) => "; create its directory",
                Some(Errno::EACCES) => "; give a file that this user may read, in a directory that this user may search",
                _ => "",
            };
            Failure::new(status, format!("the lock file {name} cannot be opened: {error}{advice}"))
        })?;
        Self::new(file, name, Some(path.to_owned()))
    }

    /// Returns the file of a descriptor that this process has inherited. Its lock belongs to all processes that share the
    /// descriptor.
    pub(crate) fn inherited(number: i32) -> Result<Self, Failure> {
        let name = format!("the file of descriptor {number}");
        let failure = |error| {
            let message = format!("the descriptor {number} is not open: {error}; open it, for example with `exec {number}>FILE`");
            Failure::new(ExitStatus::NOT_A_STORE, message)
        };
        let descriptor: OwnedFd = sys::inherited(number).map_err(failure)?;
        let file = File::from(descriptor);
        if number <= 2 && is_substitute(&file) {
            return Err(failure(Errno::EBADF));
        }
        Self::new(file, name, None)
    }

    fn new(file: File, name: String, path: Option<PathBuf>) -> Result<Self, Failure> {
        let flags = fcntl(&file, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
        let flags = flags.map_err(|error| Failure::of_call(&format!("{name} cannot be examined"), error, ExitStatus::SYSTEM))?;
        let for_writing = flags & OFlag::O_ACCMODE != OFlag::O_RDONLY;
        Ok(Self { file, kinds: [Kind::Flock, Kind::Record { for_writing }], name, path })
    }

    /// Acquires the lock, and returns the file that it is on: another one if the path led to another file in the end.
    ///
    /// During a wait, `tell` gets the name of the file and the holder: early with `true`, and after `notice_after` with `false` unless it returned
    /// true before.
    pub(crate) fn acquire(
        mut self,
        deadline: Deadline,
        notice_after: Duration,
        tell: impl Fn(&str, &HeldBy, bool) -> bool,
    ) -> Result<Self, Refusal> {
        let mut is_told = false;
        loop {
            let notice = |is_first: bool| {
                is_told = is_told || tell(&self.name, &self.holder(), is_first);
                is_told
            };
            match wait::acquire(self.file.as_fd(), self.kinds, deadline, notice_after, notice) {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::Busy { held_by: self.holder(), name: self.name }),
                Err(error) => return Err(Refusal::Failed(self.failed("locked", &error))),
            }
            match &self.path {
                Some(path) if !self.is_at(path) => self = Self::at(path).map_err(Refusal::Failed)?,
                _ => return Ok(self),
            }
        }
    }

    /// Releases the lock, if this open file has it.
    pub(crate) fn release(&self) -> Result<(), Failure> {
        let released = self.kinds.iter().rev().try_for_each(|kind| kind.release(self.file.as_fd()));
        released.map_err(|error| self.failed("unlocked", &error.into()))
    }

    /// Keeps the lock when this process executes another program.
    pub(crate) fn keep_across_exec(&self) -> Result<(), Failure> {
        let kept = fcntl(&self.file, FcntlArg::F_SETFD(FdFlag::empty()));
        kept.map(drop).map_err(|error| self.failed("passed on", &error.into()))
    }

    /// Returns whether the path leads to this file. A program may have removed or replaced the file during the wait.
    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let (here, there) = (self.file.metadata().map(identity), path.metadata().map(identity));
        // An unreadable file is not known to be another one.
        match (here, there) {
            (Ok(here), Ok(there)) => here == there,
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            _ => true,
        }
    }

    fn holder(&self) -> HeldBy {
        let path = self.path.clone().unwrap_or_default();
        self.file.metadata().map_or_else(|error| HeldBy::unknown(error.to_string()), |metadata| holders::of(&path, &metadata))
    }

    fn failed(&self, action: &str, error: &io::Error) -> Failure {
        let status = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOLCK | Errno::ENOMEM) => ExitStatus::SYSTEM,
            _ => ExitStatus::NOT_A_STORE,
        };
        Failure::new(status, format!("{} cannot be {action}: {error}", self.name))
    }
}

/// Opens a file for reading, as flock(1) does, and then for writing where that has no effect on others.
fn open(path: &Path) -> io::Result<File> {
    let reading = |extra: i32| OpenOptions::new().read(true).mode(0o666).custom_flags(libc::O_NOCTTY | extra).open(path);
    let file = match reading(libc::O_CREAT) {
        Err(error) if error.raw_os_error() == Some(libc::EISDIR) => reading(0)?,
        result => result?,
    };
    let metadata = file.metadata()?;
    // A program cannot be executed while it is open for writing, and udev reads a device again that was.
    if !metadata.is_file() || metadata.mode() & 0o111 != 0 {
        return Ok(file);
    }
    let writing = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path);
    match writing {
        Ok(writable) if writable.metadata().is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino())) => {
            Ok(writable)
        }
        _ => Ok(file),
    }
}

/// Returns whether the runtime opened `/dev/null` because this standard descriptor was closed. It opens it for reading and
/// writing.
fn is_substitute(file: &File) -> bool {
    let is_null =
        file.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3));
    let flags = fcntl(file, FcntlArg::F_GETFL).map(OFlag::from_bits_retain);
    is_null && flags.is_ok_and(|flags| flags & OFlag::O_ACCMODE == OFlag::O_RDWR)
}
