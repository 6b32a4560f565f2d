use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Death, Error, ErrorKind, Holder, Proof, RawLock, Recovery, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{geteuid, gettid};

/// A lock file. There is one of these in a process for each file, never closed: closing a file gives up the process's record
/// locks on it.
pub(crate) struct FileLock {
    file: File,
    /// Process and thread that hold it. A record lock belongs to a process, so threads are kept apart here; a forked child finds its
    /// parent here, and owns nothing.
    owner: Mutex<Option<(u32, u32)>>,
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
        let facts = file.metadata().map_err(|error| Error::system("fstat", error))?;
        if facts.mode() & mode != mode && facts.uid() == geteuid().as_raw() {
            // The umask has removed bits.
            file.set_permissions(Permissions::from_mode(mode)).map_err(|error| Error::system("fchmod", error))?;
        }
        let lock = Arc::new(Self { file, owner: Mutex::default() });
        locks.insert(key, Arc::clone(&lock));
        Ok(lock)
    }

    /// Takes the lock if it is free.
    fn attempt(&self) -> Result<Acquired> {
        let me = (process::id(), gettid().as_raw().cast_unsigned());
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        match *owner {
            Some(holder) if holder == me => return Err(ErrorKind::AlreadyHeld.into()),
            Some((pid, _)) if pid == me.0 => return Ok(Acquired::TimedOut),
            _ => {}
        }
        match fcntl(&self.file, FcntlArg::F_SETLK(&whole_file(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(Acquired::TimedOut),
            Err(errno) => return Err(Error::system("fcntl", errno)),
        }
        let left = self.read()?;
        let death = (left.pid != 0).then(|| Death::of(Some(left.holder())));
        let record = Record { token: left.token + 1, pid: me.0, tid: me.1 };
        self.write(&record)?;
        *owner = Some(me);
        let token = record.token;
        Ok(match death {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        })
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

    /// Whether some process holds the record lock.
    fn is_held(&self) -> Result<bool> {
        let owner = *self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if owner.is_some_and(|(pid, _)| pid == process::id()) {
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

    fn release(&self, _: Proof) -> Result<()> {
        let me = (process::id(), gettid().as_raw().cast_unsigned());
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        if *owner != Some(me) {
            return Err(ErrorKind::NotHeld.into());
        }
        let token = self.read()?.token;
        self.write(&Record { token, pid: 0, tid: 0 })?;
        *owner = None;
        fcntl(&self.file, FcntlArg::F_SETLK(&whole_file(libc::F_UNLCK))).map_err(|errno| Error::system("fcntl", errno))?;
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let record = self.read()?;
        Ok((self.is_held()? && record.pid != 0).then(|| record.holder()))
    }
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
