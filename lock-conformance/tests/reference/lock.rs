use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Death, Error, ErrorKind, Holder, Proof, RawLock, Recovery, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{geteuid, gettid};

use super::file_thread::{FileThread, Key, OpenFile};

/// A lock on a file, by an open-file-description lock.
///
/// The file stays open in the [`FileThread`] of the process until the process ends, because handles outlive the store.
pub(crate) struct FileLock {
    key: Key,
}

/// What is in the file: the last token, and who took the lock and has not released it.
struct Record {
    token: u64,
    pid: u32,
    tid: u32,
}

impl FileLock {
    /// The lock of this file. The store's path may be used again for another store, which `identity` tells from this one.
    /// A new file gets this mode.
    pub(crate) fn of(path: &Path, identity: u128, mode: u32) -> Result<Arc<Self>> {
        let lock = Self { key: (identity, path.to_owned()) };
        FileThread::run(&lock.key, move |open| open.allow(mode))?;
        Ok(Arc::new(lock))
    }
}

impl OpenFile {
    /// Gives the file these bits, of which the umask may have removed some.
    fn allow(&self, mode: u32) -> Result<()> {
        let facts = self.file.metadata().map_err(|error| Error::system("fstat", error))?;
        if facts.mode() & mode != mode && facts.uid() == geteuid().as_raw() {
            self.file.set_permissions(Permissions::from_mode(mode)).map_err(|error| Error::system("fchmod", error))?;
        }
        Ok(())
    }

    /// Takes the lock for the thread if it is free.
    fn attempt(&mut self, tid: u32) -> Result<Acquired> {
        match self.owner {
            Some(owner) if owner == tid => return Err(ErrorKind::AlreadyHeld.into()),
            Some(_) => return Ok(Acquired::TimedOut),
            None => {}
        }
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Ok(Acquired::TimedOut),
            Err(errno) => return Err(Error::system("fcntl", errno)),
        }
        let left = self.read()?;
        let death = (left.pid != 0).then(|| Death::of(Some(left.holder())));
        let token = left.token + 1;
        self.write(&Record { token, pid: process::id(), tid })?;
        self.owner = Some(tid);
        Ok(match death {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        })
    }

    /// Gives up the lock of the thread.
    fn release(&mut self, tid: u32) -> Result<()> {
        if self.owner != Some(tid) {
            return Err(ErrorKind::NotHeld.into());
        }
        let token = self.read()?.token;
        self.write(&Record { token, pid: 0, tid: 0 })?;
        self.owner = None;
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))).map_err(|errno| Error::system("fcntl", errno))?;
        Ok(())
    }

    fn read(&self) -> Result<Record> {
        // A new file is empty, and nobody has held its lock.
        let mut bytes = [0; 16];
        self.file.read_at(&mut bytes, 0).map_err(|error| Error::system("pread", error))?;
        let [token, pid_and_tid] = [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")));
        Ok(Record { token, pid: pid_and_tid as u32, tid: (pid_and_tid >> 32) as u32 })
    }

    fn write(&self, record: &Record) -> Result<()> {
        let pid_and_tid = u64::from(record.pid) | u64::from(record.tid) << 32;
        let bytes = [record.token.to_le_bytes(), pid_and_tid.to_le_bytes()].concat();
        self.file.write_all_at(&bytes, 0).map_err(|error| Error::system("pwrite", error))
    }

    /// The thread that holds the lock.
    fn holder(&self) -> Result<Option<Record>> {
        let mut lock = whole_file(libc::F_WRLCK);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|errno| Error::system("fcntl", errno))?;
        let is_held = self.owner.is_some() || i32::from(lock.l_type) != libc::F_UNLCK;
        Ok(if is_held { Some(self.read()?).filter(|record| record.pid != 0) } else { None })
    }
}

impl RawLock for FileLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let tid = this_thread();
        loop {
            let acquired = FileThread::run(&self.key, move |file| file.attempt(tid))?;
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            let pause = Duration::from_micros(500);
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        }
    }

    fn release(&self, _: Proof) -> Result<()> {
        let tid = this_thread();
        FileThread::run(&self.key, move |file| file.release(tid))
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(FileThread::run(&self.key, |file| file.holder())?.map(|record| record.holder()))
    }
}

fn this_thread() -> u32 {
    gettid().as_raw().cast_unsigned()
}

impl Record {
    fn holder(&self) -> Holder {
        Holder::of_process(self.pid).with_thread(self.tid).with_command(command_of(self.pid))
    }
}

impl fmt::Debug for FileLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLock").finish_non_exhaustive()
    }
}

pub(crate) fn command_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ")
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
