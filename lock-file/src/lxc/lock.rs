use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lock_core::PerProcess;
use lock_core::{Acquired, Deadline, Error, ErrorKind, HeldBy, OwnerKind, Proof, RawLock, Result};
use lock_table::descriptor::{Descriptor, KeptDescription};
use lock_table::thread;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::path::LockPath;
use super::queue::{self, Mark};
use super::{inspect, sys};
use crate::descriptors;
use crate::wait::{self, Attempt};

/// The locks that this process or one of its threads holds.
///
/// A lock whose guard was leaked stays in the list and stays held.
static HELD: PerProcess<Mutex<Vec<Held>>> = PerProcess::new();

/// LXC's lock of a container.
///
/// Each acquisition opens the file again. So each has a separate open file description, and the kernel excludes threads as well
/// as processes.
#[derive(Debug)]
pub(super) struct LxcLock {
    path: LockPath,
}

#[derive(Debug)]
struct Held {
    path: LockPath,
    inode: (u64, u64),
    /// The owner: a thread, or 0 for the process.
    owner: u32,
    /// Keeps the open file description, and with it the kernel's lock.
    description: KeptDescription,
    /// When the owner acquired the lock.
    acquired: Instant,
}

impl LxcLock {
    pub(super) fn new(path: LockPath) -> Self {
        Self { path }
    }

    /// Opens the file. `creation` contains `O_CREAT` and `O_EXCL` if the file is to be created.
    pub(super) fn open(&self, creation: OFlag) -> Result<File> {
        let flags = creation | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        match self.path.open(flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::ENOENT) => Err(Error::absent()),
            Err(Errno::EEXIST) => Err(Error::exists()),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(self.path.symbolic_link()),
            Err(errno) => Err(Error::system("open", errno).at(self.path.file())),
        }
    }

    /// Checks whether the file was removed or replaced after it was opened.
    fn is_replaced(&self, inode: (u64, u64)) -> bool {
        match fs::symlink_metadata(self.path.file()) {
            Ok(named) => (named.dev(), named.ino()) != inode,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Opens the file, and creates it and its directories if they are absent.
    fn open_to_lock(&self) -> Result<(File, Metadata)> {
        let file = match self.open(OFlag::O_CREAT) {
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => {
                self.path.create_directories()?;
                self.open(OFlag::O_CREAT)?
            }
            other => other?,
        };
        let meta = file.metadata().map_err(|error| Error::system("fstat", error))?;
        if meta.is_file() {
            Ok((file, meta))
        } else {
            Err(Error::untrusted(format!("{} is not a regular file; remove it", self.path.file().display())))
        }
    }

    fn acquire_as(&self, kind: OwnerKind, deadline: Deadline) -> Result<Acquired> {
        // Whether this process gives way to waiters with a deadline. It decides that when it has opened the file.
        let (mut gives_way, mut has_given_back) = (None, false);
        loop {
            let mut inode = (0, 0);
            let mut description = KeptDescription::new(|| {
                let (file, meta) = self.open_to_lock()?;
                inode = (meta.dev(), meta.ino());
                descriptors::above_reserved(file.into())
            })?;
            let file = description.descriptor().expect("the description has its descriptor until `close`");
            if held()?.iter().any(|held| (held.inode, held.owner) == (inode, thread::id())) {
                return Err(Error::already_held());
            }
            let at_file = |error: Error| error.at(self.path.file());
            let gives_way = *gives_way.get_or_insert_with(|| queue::is_due_to_check(inode));
            if gives_way {
                let is_reserved = queue::is_reserved_after_pause(file, self.path.file(), deadline).map_err(at_file)?;
                if is_reserved && deadline.has_passed() {
                    return Ok(Acquired::TimedOut);
                }
                queue::checked(inode, is_reserved);
                has_given_back |= is_reserved;
            }
            if !self.lock(file, deadline).map_err(at_file)? {
                return Ok(Acquired::TimedOut);
            }
            // The kernel gives the lock to the threads that block in it, and knows no other waiters.
            if gives_way && !has_given_back && queue::has_marked_waiter(file, self.path.file()).map_err(at_file)? {
                has_given_back = true;
                if !deadline.has_passed() {
                    continue;
                }
            }
            description.close();
            if !description.is_kept() {
                return Err(Error::lost());
            }
            if !self.is_replaced(inode) {
                held()?.push(Held { path: self.path.clone(), inode, owner: owner(kind), description, acquired: Instant::now() });
                return Ok(Acquired::Held { token: 0 });
            }
        }
    }

    /// Locks the file. Returns false if the deadline passes first.
    fn lock(&self, file: &Descriptor, deadline: Deadline) -> Result<bool> {
        match deadline {
            Deadline::Now => sys::try_lock(file),
            Deadline::At(_) => {
                let mark = Mark::new(file, self.path.file());
                let attempt = || Ok(if sys::try_lock(file)? { Attempt::Acquired(()) } else { Attempt::Busy });
                Ok(wait::until(self.path.file(), deadline, || mark.set(), attempt)?.is_some())
            }
            Deadline::Never => sys::lock(file).map(|()| true),
        }
    }
}

impl RawLock for LxcLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Process, deadline)
    }

    fn check(&self, kind: OwnerKind, _token: Option<u64>) -> Result<()> {
        let owner = owner(kind);
        let inode = held()?.iter().find(|held| held.owner == owner && held.path == self.path).map(|held| held.inode);
        // The owner of a removed file excludes no process that locks the new one.
        if inode.is_some_and(|inode| !self.is_replaced(inode)) { Ok(()) } else { Err(Error::lost()) }
    }

    fn held_by(&self) -> HeldBy {
        let own = held().is_ok_and(|all| all.iter().any(|held| held.path == self.path));
        if own { HeldBy::Holder(inspect::this_process()) } else { inspect::held_by(self.path.file()) }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let mut all = held()?;
        let owner = owner(proof.owner());
        let position = all.iter().position(|held| held.owner == owner && held.path == self.path);
        let released = all.swap_remove(position.ok_or_else(Error::lost)?);
        drop(all);
        queue::record_release(released.inode, released.acquired);
        // Dropping it closes the file, which unlocks it and notifies waiters with a deadline.
        if released.description.is_kept() { Ok(()) } else { Err(Error::lost()) }
    }
}

/// Returns the owner of a lock that the calling thread acquires or releases.
fn owner(kind: OwnerKind) -> u32 {
    match kind {
        OwnerKind::Process => 0,
        _ => thread::id(),
    }
}

fn held() -> Result<MutexGuard<'static, Vec<Held>>> {
    let held = HELD.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(held.lock().unwrap_or_else(PoisonError::into_inner))
}
