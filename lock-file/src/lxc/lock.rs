use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_core::PerProcess;
use lock_core::{Acquired, Deadline, Error, ErrorKind, Proof, RawLock, Result};
use lock_table::descriptor::{Descriptor, KeptDescription};
use lock_table::thread;
use nix::errno::Errno;
use nix::fcntl::{FlockArg, OFlag};
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
    /// The lock ends with the open file description.
    description: KeptDescription,
}

impl LxcLock {
    pub(super) fn new(path: LockPath) -> Self {
        Self { path }
    }

    /// Makes the file, or finds it, as the mode of opening asks; `extra` is O_EXCL, O_CREAT or neither.
    pub(super) fn open(&self, extra: OFlag) -> Result<File> {
        let flags = extra | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        match self.path.open(flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::ENOENT) => Err(ErrorKind::Absent.into()),
            Err(Errno::EEXIST) => Err(ErrorKind::Exists.into()),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(self.path.linked()),
            Err(errno) => Err(Error::refused("open", errno).at(self.path.file())),
        }
    }

    /// Whether the file was removed since it was opened, so that others lock another one.
    fn is_replaced(&self, inode: (u64, u64)) -> bool {
        match fs::symlink_metadata(self.path.file()) {
            Ok(named) => (named.dev(), named.ino()) != inode,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
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
        loop {
            let mut inode = (0, 0);
            let mut description = KeptDescription::new(|| {
                let (file, meta) = self.open_to_lock()?;
                inode = (meta.dev(), meta.ino());
                descriptors::above(file.into())
            })?;
            let thread = thread::id();
            let file = description.descriptor().expect("it is closed below");
            if held()?.iter().any(|held| (held.inode, held.thread) == (inode, thread)) {
                return Err(ErrorKind::AlreadyHeld.into());
            }
            let locked = match deadline {
                Deadline::Now => try_lock(file),
                Deadline::At(_) => {
                    wait::until(self.path.file(), deadline, || Ok(try_lock(file)?.then_some(()))).map(|locked| locked.is_some())
                }
                Deadline::Never => lock(file).map(|()| true),
            };
            if !locked.map_err(|error| error.at(self.path.file()))? {
                return Ok(Acquired::TimedOut);
            }
            description.close();
            if !description.is_kept() {
                return Err(ErrorKind::Lost.into());
            }
            if !self.is_replaced(inode) {
                held()?.push(Held { path: self.path.clone(), inode, thread, description });
                return Ok(Acquired::Held { token: 0 });
            }
        }
    }

    fn release(&self, _: Proof) -> Result<()> {
        let mut all = held()?;
        let ours = all.iter().position(|held| held.thread == thread::id() && held.path == self.path);
        let released = all.swap_remove(ours.ok_or(ErrorKind::Lost)?);
        drop(all);
        // It is dropped here, which unlocks the file and closes it: waiters with a deadline hear that.
        if released.description.is_kept() { Ok(()) } else { Err(ErrorKind::Lost.into()) }
    }
}

fn held() -> Result<MutexGuard<'static, Vec<Held>>> {
    let held = HELD.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(held.lock().unwrap_or_else(PoisonError::into_inner))
}

fn try_lock(file: &Descriptor) -> Result<bool> {
    match ofd::try_lock(file) {
        Err(Errno::EINVAL) => try_flock(file),
        other => other.map_err(ofd::error),
    }
}

fn try_flock(file: &Descriptor) -> Result<bool> {
    match flock(file, FlockArg::LockExclusiveNonblock) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(Error::refused("flock", errno)),
    }
}

fn lock(file: &Descriptor) -> Result<()> {
    match ofd::lock(file) {
        Err(Errno::EINVAL) => flock(file, FlockArg::LockExclusive).map_err(|errno| Error::refused("flock", errno)),
        other => other.map_err(ofd::error),
    }
}

/// `flock(2)`, again and again while signals interrupt it. Old kernels have nothing else.
fn flock(file: &Descriptor, how: FlockArg) -> Result<(), Errno> {
    loop {
        let fd = file.get().ok_or(Errno::EBADF)?;
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
    use super::*;

    #[test]
    fn the_lock_of_old_kernels_excludes_and_ends_with_the_description() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let [mut one, two] = [(); 2].map(|()| KeptDescription::new(|| Ok(path.reopen().unwrap().into())).unwrap());
        let two = two.descriptor().unwrap();
        assert!(try_flock(one.descriptor().unwrap()).unwrap());
        assert!(!try_flock(two).unwrap());
        one.close();
        assert!(!try_flock(two).unwrap());
        drop(one);
        assert!(try_flock(two).unwrap());
    }
}
