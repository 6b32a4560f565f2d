use std::fs::{File, Metadata};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_core::fork::{Descriptor, PerProcess};
use lock_core::{Acquired, Deadline, Error, ErrorKind, Proof, RawLock, Result, thread};
use nix::errno::Errno;
use nix::fcntl::{FlockArg, OFlag, open};
use nix::sys::stat::Mode;

use super::path::LockPath;
use crate::{descriptors, ofd, wait};

/// The locks that threads of this process hold. One whose guard was leaked stays here, and held.
static HELD: PerProcess<Mutex<Vec<Held>>> = PerProcess::new();

/// LXC's lock of a container. Each acquisition opens the file anew, so that the kernel keeps threads apart as it does processes.
#[derive(Debug)]
pub(super) struct LxcLock {
    path: LockPath,
}

#[derive(Debug)]
struct Held {
    path: LockPath,
    inode: (u64, u64),
    thread: u32,
    file: Descriptor,
    kind: Kind,
}

/// By what a file was locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    OpenFileDescription,
    Flock,
}

impl LxcLock {
    pub(super) fn new(path: LockPath) -> Self {
        Self { path }
    }

    /// Makes the file, or finds it, as the mode of opening asks; `extra` is O_EXCL, O_CREAT or neither.
    pub(super) fn open(&self, extra: OFlag) -> Result<File> {
        let flags = extra | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        match open(self.path.file(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::ENOENT) => Err(ErrorKind::Absent.into()),
            Err(Errno::EEXIST) => Err(ErrorKind::Exists.into()),
            Err(Errno::ELOOP) => {
                Err(ErrorKind::NotOurs { reason: format!("{} is a symbolic link", self.path.file().display()) }.into())
            }
            Err(errno) => Err(Error::refused("open LXC's lock file", errno)),
        }
    }

    /// Opens the file to lock it, with its directories if something cleaned them away.
    fn open_to_lock(&self) -> Result<(File, Metadata)> {
        let file = match self.open(OFlag::O_CREAT) {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => {
                self.path.make_directories()?;
                self.open(OFlag::O_CREAT)?
            }
            other => other?,
        };
        let meta = file.metadata().map_err(|error| Error::system("fstat", error))?;
        if meta.is_file() {
            Ok((file, meta))
        } else {
            Err(ErrorKind::NotOurs { reason: format!("{} is not a regular file", self.path.file().display()) }.into())
        }
    }
}

impl RawLock for LxcLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let (file, meta) = self.open_to_lock()?;
        let (inode, thread) = ((meta.dev(), meta.ino()), thread::id());
        // From now on, no forked child can keep the lock.
        let file = Descriptor::new(descriptors::above(file.into())?);
        let fd = file.get().expect("it was opened in this process");
        if held()?.iter().any(|held| (held.inode, held.thread) == (inode, thread)) {
            return Err(ErrorKind::AlreadyHeld.into());
        }
        let kind = match deadline {
            Deadline::Now => try_lock(fd)?,
            Deadline::At(_) => wait::until(fd, deadline, || try_lock(fd))?,
            Deadline::Never => Some(lock(fd)?),
        };
        let Some(kind) = kind else { return Ok(Acquired::TimedOut) };
        held()?.push(Held { path: self.path.clone(), inode, thread, file, kind });
        Ok(Acquired::Held { token: 0 })
    }

    fn release(&self, _: Proof) -> Result<()> {
        let mut all = held()?;
        let ours = all.iter().position(|held| held.thread == thread::id() && held.path == self.path);
        let released = all.swap_remove(ours.ok_or(ErrorKind::NotHeld)?);
        drop(all);
        match (released.kind, released.file.get()) {
            (Kind::OpenFileDescription, Some(fd)) => ofd::unlock(fd).map_err(ofd::error),
            (Kind::Flock, Some(fd)) => flock(fd, FlockArg::Unlock).map_err(|errno| Error::system("flock", errno)),
            (_, None) => Err(ErrorKind::NotHeld.into()),
        }
        // And it is closed, which those who wait with a deadline hear.
    }
}

fn held() -> Result<MutexGuard<'static, Vec<Held>>> {
    let held = HELD.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(held.lock().unwrap_or_else(PoisonError::into_inner))
}

fn try_lock(fd: BorrowedFd<'_>) -> Result<Option<Kind>> {
    match ofd::try_lock(fd) {
        Ok(locked) => Ok(locked.then_some(Kind::OpenFileDescription)),
        Err(Errno::EINVAL) => try_flock(fd),
        Err(errno) => Err(ofd::error(errno)),
    }
}

fn try_flock(fd: BorrowedFd<'_>) -> Result<Option<Kind>> {
    match flock(fd, FlockArg::LockExclusiveNonblock) {
        Ok(()) => Ok(Some(Kind::Flock)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(Error::refused("flock", errno)),
    }
}

fn lock(fd: BorrowedFd<'_>) -> Result<Kind> {
    match ofd::lock(fd) {
        Ok(()) => Ok(Kind::OpenFileDescription),
        Err(Errno::EINVAL) => {
            flock(fd, FlockArg::LockExclusive).map_err(|errno| Error::refused("flock", errno))?;
            Ok(Kind::Flock)
        }
        Err(errno) => Err(ofd::error(errno)),
    }
}

/// `flock(2)`, again and again while signals interrupt it.
fn flock(fd: BorrowedFd<'_>, how: FlockArg) -> Result<(), Errno> {
    loop {
        // The type that replaces this function owns its file, and a `Descriptor` cannot be taken apart.
        #[allow(deprecated)]
        match nix::fcntl::flock(fd.as_raw_fd(), how) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_lock_of_old_kernels_excludes_and_releases() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (path.reopen().unwrap(), path.reopen().unwrap());
        assert_eq!(try_flock(one.as_fd()).unwrap(), Some(Kind::Flock));
        assert_eq!(try_flock(two.as_fd()).unwrap(), None);
        flock(one.as_fd(), FlockArg::Unlock).unwrap();
        assert_eq!(try_flock(two.as_fd()).unwrap(), Some(Kind::Flock));
    }
}
