use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Condition, Deadline, Error, Holder, OwnerKind, Proof, RawLock, Recovery, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::gettid;

use super::file_thread::{FileThread, Key, OpenFile};
use super::options::Access;
use super::record::{Record, ThreadIds};

/// A lock that is an open-file-description lock on a file.
///
/// The [`FileThread`] keeps the file open until the process ends, because handles outlive the store.
pub(crate) struct FileLock {
    key: Key,
}

impl FileLock {
    /// Opens or creates the lock of this file. A new file gets the owner, group and mode of `access`.
    ///
    /// A later store can reuse the path; `identity` distinguishes the stores.
    pub(crate) fn of(path: &Path, identity: u128, access: Access) -> Result<Arc<Self>> {
        let lock = Self { key: (identity, path.to_owned()) };
        FileThread::run(&lock.key, access, |_| Ok(()))?;
        Ok(Arc::new(lock))
    }

    /// Returns the key of the lock's file.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the path of the lock's file.
    pub(super) fn path(&self) -> &Path {
        &self.key.1
    }

    /// Returns whether the calling thread holds the lock.
    pub(super) fn is_held_by_caller(&self) -> Result<bool> {
        let caller = this_thread();
        FileThread::run(&self.key, Access::DEFAULT, move |file| Ok(file.owner == Some(caller)))
    }

    pub(super) fn acquire_as(&self, owner: OwnerKind, deadline: Deadline) -> Result<Acquired> {
        let (tid, caller) = (tid_of(owner), this_thread());
        loop {
            let acquired = FileThread::run(&self.key, Access::DEFAULT, move |file| file.attempt(tid, caller))?;
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            let pause = Duration::from_micros(500);
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        }
    }

    /// Releases the lock, and records the condition of the protected data.
    pub(super) fn release_in(&self, owner: OwnerKind, condition: Condition) -> Result<()> {
        let tid = tid_of(owner);
        FileThread::run(&self.key, Access::DEFAULT, move |file| file.release(tid, condition))
    }
}

impl OpenFile {
    /// Acquires the lock for the thread `tid`, or for the process if it is 0, if the lock is free.
    fn attempt(&mut self, tid: u32, caller: u32) -> Result<Acquired> {
        match self.owner {
            Some(owner) if owner == caller => return Err(Error::already_held()),
            Some(_) => return Ok(Acquired::TimedOut),
            None => {}
        }
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Ok(Acquired::TimedOut),
            Err(errno) => return Err(Error::system("fcntl", errno)),
        }
        let written =
            self.read().map(|record| record.acquired_by(ids(tid))).and_then(|record| self.write(&record).map(|()| record));
        let record = match written {
            Ok(record) => record,
            Err(error) => {
                fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))
                    .map_err(|errno| Error::system("fcntl", errno))?;
                return Err(error);
            }
        };
        self.owner = Some(tid);
        let token = record.token;
        Ok(match record.death() {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        })
    }

    /// Releases the lock of the thread, and records the condition of the protected data.
    fn release(&mut self, tid: u32, condition: Condition) -> Result<()> {
        self.check_owner(tid)?;
        self.write(&self.read()?.released_by(ids(tid), condition))?;
        self.owner = None;
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))).map_err(|errno| Error::system("fcntl", errno))?;
        Ok(())
    }

    fn mark_consistent(&self, tid: u32) -> Result<()> {
        self.check_owner(tid)?;
        self.write(&self.read()?.consistent())
    }

    fn check_owner(&self, tid: u32) -> Result<()> {
        if self.owner == Some(tid) { Ok(()) } else { Err(Error::lost()) }
    }

    fn read(&self) -> Result<Record> {
        // An empty file reads as zeros: the lock was never held.
        let mut bytes = [0; Record::BYTES];
        self.file.read_at(&mut bytes, 0).map_err(|error| Error::system("pread", error))?;
        Ok(Record::from_bytes(bytes))
    }

    fn write(&self, record: &Record) -> Result<()> {
        self.file.write_all_at(&record.to_bytes(), 0).map_err(|error| Error::system("pwrite", error))
    }

    /// Returns the thread that holds the lock.
    fn holder(&self) -> Result<Option<ThreadIds>> {
        let mut lock = whole_file(libc::F_WRLCK);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|errno| Error::system("fcntl", errno))?;
        let is_held = self.owner.is_some() || i32::from(lock.l_type) != libc::F_UNLCK;
        Ok(if is_held { self.read()?.owner } else { None })
    }
}

impl RawLock for FileLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.release_in(proof.owner(), proof.condition())
    }

    fn mark_consistent(&self, owner: OwnerKind, _: Option<u64>) -> Result<()> {
        let tid = tid_of(owner);
        FileThread::run(&self.key, Access::DEFAULT, move |file| file.mark_consistent(tid))
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(FileThread::run(&self.key, Access::DEFAULT, |file| file.holder())?.map(ThreadIds::holder))
    }
}

/// Returns the thread id of an owner, or 0 for the process.
fn tid_of(owner: OwnerKind) -> u32 {
    match owner {
        OwnerKind::Process => 0,
        _ => this_thread(),
    }
}

fn this_thread() -> u32 {
    gettid().as_raw().cast_unsigned()
}

fn ids(tid: u32) -> ThreadIds {
    ThreadIds { pid: process::id(), tid }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock").finish_non_exhaustive()
    }
}

/// Returns the program name of a process, without the arguments.
///
/// Arguments can be secrets, and other users can read a shared store.
pub(crate) fn command_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split('\0').next().unwrap_or_default().to_owned()
}

pub(super) fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
