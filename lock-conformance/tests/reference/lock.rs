use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Condition, Deadline, Error, ErrorKind, Holder, Proof, RawLock, Recovery, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::gettid;

use super::record::{Record, ThreadIds};

/// A lock file. There is one of these in a process for each file, never closed: closing a file gives up the process's record
/// locks on it.
pub(crate) struct FileLock {
    file: File,
    /// Process and thread that hold it. A record lock belongs to a process, so threads are kept apart here; a forked child finds its
    /// parent here, and owns nothing.
    owner: Mutex<Option<ThreadIds>>,
}

impl FileLock {
    /// The lock of this file. The store's path may be used again for another store, which `identity` tells from this one.
    pub(crate) fn of(path: &Path, identity: u128) -> Result<Arc<Self>> {
        type Locks = Mutex<HashMap<(u128, PathBuf), Arc<FileLock>>>;
        static LOCKS: std::sync::LazyLock<Locks> = std::sync::LazyLock::new(Locks::default);
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (identity, path.to_owned());
        if let Some(lock) = locks.get(&key) {
            return Ok(Arc::clone(lock));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| Error::system("open", error))?;
        let lock = Arc::new(Self { file, owner: Mutex::default() });
        locks.insert(key, Arc::clone(&lock));
        Ok(lock)
    }

    /// Takes the lock if it is free.
    fn attempt(&self) -> Result<Acquired> {
        let me = this_thread();
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        match *owner {
            Some(holder) if holder == me => return Err(ErrorKind::AlreadyHeld.into()),
            Some(holder) if holder.pid == me.pid => return Ok(Acquired::TimedOut),
            _ => {}
        }
        match fcntl(&self.file, FcntlArg::F_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(Acquired::TimedOut),
            Err(errno) => return Err(Error::system("fcntl", errno)),
        }
        let record = self.read()?.acquired_by(me);
        self.write(&record)?;
        *owner = Some(me);
        let token = record.token;
        Ok(match record.death() {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        })
    }

    /// Gives the lock up, and leaves what it protects in this condition.
    pub(super) fn release_in(&self, condition: Condition) -> Result<()> {
        let me = this_thread();
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if *owner != Some(me) {
            return Err(ErrorKind::Lost.into());
        }
        self.write(&self.read()?.released_by(me, condition))?;
        *owner = None;
        fcntl(&self.file, FcntlArg::F_SETLK(&whole_file(libc::F_UNLCK))).map_err(|errno| Error::system("fcntl", errno))?;
        Ok(())
    }

    fn read(&self) -> Result<Record> {
        // A new file is empty, and nobody has held its lock.
        let mut bytes = [0; Record::BYTES];
        self.file.read_at(&mut bytes, 0).map_err(|error| Error::system("pread", error))?;
        Ok(Record::from_bytes(bytes))
    }

    fn write(&self, record: &Record) -> Result<()> {
        self.file.write_all_at(&record.to_bytes(), 0).map_err(|error| Error::system("pwrite", error))
    }

    /// Whether some process holds the record lock.
    fn is_held(&self) -> Result<bool> {
        let owner = *self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if owner.is_some_and(|owner| owner.pid == process::id()) {
            return Ok(true);
        }
        let mut lock = whole_file(libc::F_WRLCK);
        fcntl(&self.file, FcntlArg::F_GETLK(&mut lock)).map_err(|errno| Error::system("fcntl", errno))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

impl RawLock for FileLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        loop {
            let acquired = self.attempt()?;
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            let pause = Duration::from_micros(500);
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.release_in(proof.condition())
    }

    fn mark_consistent(&self) -> Result<()> {
        if *self.owner.lock().unwrap_or_else(PoisonError::into_inner) != Some(this_thread()) {
            return Err(ErrorKind::Lost.into());
        }
        self.write(&self.read()?.consistent())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let record = self.read()?;
        Ok(if self.is_held()? { record.owner.map(ThreadIds::holder) } else { None })
    }
}

fn this_thread() -> ThreadIds {
    ThreadIds { pid: process::id(), tid: gettid().as_raw().cast_unsigned() }
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
