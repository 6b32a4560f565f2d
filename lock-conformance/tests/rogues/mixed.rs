//! Backends whose locks between threads and between processes do not fit together.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use lock_core::{Acquired, Capabilities, Deadline, Error, LockId, Manager, Proof, RawLock, Result, StoreUrl, Tokens};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Sinner;
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<GivesTheClaimUpFirst>(),
        sinner::<KeepsItsMutexWhileItWaits>(),
        sinner::<WaitsForRecordLocks>(),
        sinner::<ChecksBeforeItTakes>(),
    ]
}

/// A lock of this kind on the whole file.
fn whole(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn system(errno: Errno) -> Error {
    Error::system("fcntl", errno)
}

/// The file of a lock, beside the files of the honest backend.
pub(super) fn beside(url: &StoreUrl, id: LockId) -> Result<File> {
    let path = format!("{}/beside-{id}", url.place());
    let options = File::options().read(true).write(true).create(true).truncate(false).to_owned();
    // The numbers below 3 are the program's.
    options.open(path).and_then(|file| file.try_clone()).map_err(|error| Error::system("open", error))
}

/// A claim between the threads of a process, and a lock on a file between processes.
#[derive(Debug)]
struct Claimed {
    claim: AtomicBool,
    file: File,
}

/// Gives up the claim of its process before the lock of the file, which belongs to the process.
#[derive(Debug)]
struct GivesTheClaimUpFirst;

impl Sin for GivesTheClaimUpFirst {
    const NAME: &'static str = "gives-the-claim-up-first";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("exclusion::attempts_of_two_threads_exclude_a_waiting_process", "found somebody else in its critical section")];
    const CLAIMS: Capabilities = reference::CLAIMS.tokens(Tokens::Unsupported);

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)?;
        Ok(Arc::new(Claimed { claim: AtomicBool::new(false), file: beside(url, id)? }))
    }
}

impl Claimed {
    fn attempt(&self) -> Result<Acquired> {
        if self.claim.swap(true, Ordering::AcqRel) {
            return Ok(Acquired::TimedOut);
        }
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => Ok(Acquired::Held { token: 0 }),
            Err(errno) => {
                self.claim.store(false, Ordering::Release);
                if errno == Errno::EAGAIN { Ok(Acquired::TimedOut) } else { Err(system(errno)) }
            }
        }
    }
}

/// Repeats the attempt until the deadline.
fn repeat(deadline: Deadline, attempt: impl Fn() -> Result<Acquired>) -> Result<Acquired> {
    loop {
        let acquired = attempt()?;
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        thread::sleep(Duration::from_micros(50));
    }
}

impl RawLock for Claimed {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        repeat(deadline, || self.attempt())
    }

    fn release(&self, _: Proof) -> Result<()> {
        self.claim.store(false, Ordering::Release);
        thread::sleep(Duration::from_micros(100));
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole(libc::F_UNLCK))).map(drop).map_err(system)
    }
}

/// Waits with a mutex of its process locked.
#[derive(Debug)]
struct KeepsItsMutexWhileItWaits;

impl Sin for KeepsItsMutexWhileItWaits {
    const NAME: &'static str = "keeps-its-mutex-while-it-waits";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("exclusion::a_waiting_thread_delays_no_other_thread", "does not return from try_lock")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        static MUTEX: Mutex<()> = Mutex::new(());
        let _mutex = MUTEX.lock().unwrap_or_else(PoisonError::into_inner);
        honest.acquire(deadline)
    }
}

/// Waits by `F_SETLKW`, which refuses what would be a deadlock if processes had one thread each.
#[derive(Debug)]
struct WaitsForRecordLocks;

impl Sin for WaitsForRecordLocks {
    const NAME: &'static str = "waits-for-record-locks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("exclusion::crossed_waits_of_threads_are_no_deadlock", "deadlock")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)?;
        Ok(Arc::new(RecordLock::on(beside(url, id)?)))
    }
}

/// A lock on a file that belongs to the process, and a claim between its threads.
#[derive(Debug)]
pub(super) struct RecordLock {
    claim: AtomicBool,
    file: File,
}

impl RecordLock {
    pub(super) fn on(file: File) -> Self {
        Self { claim: AtomicBool::new(false), file }
    }
}

impl RawLock for RecordLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let claimed = || !self.claim.swap(true, Ordering::AcqRel);
        let claim = || Ok(if claimed() { Acquired::Held { token: 0 } } else { Acquired::TimedOut });
        if repeat(deadline, claim)? == Acquired::TimedOut {
            return Ok(Acquired::TimedOut);
        }
        let lock = whole(libc::F_WRLCK);
        let set = |command| match fcntl(&self.file, command) {
            Ok(_) => Ok(Acquired::Held { token: 0 }),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(Acquired::TimedOut),
            Err(errno) => Err(system(errno)),
        };
        let acquired = match deadline {
            Deadline::Never => set(FcntlArg::F_SETLKW(&lock)),
            _ => repeat(deadline, || set(FcntlArg::F_SETLK(&lock))),
        };
        if !matches!(acquired, Ok(Acquired::Held { .. })) {
            self.claim.store(false, Ordering::Release);
        }
        acquired
    }

    fn release(&self, _: Proof) -> Result<()> {
        let done = fcntl(&self.file, FcntlArg::F_SETLK(&whole(libc::F_UNLCK))).map(drop).map_err(system);
        self.claim.store(false, Ordering::Release);
        done
    }
}

/// Checks that there is no owner, and makes itself the owner afterwards.
#[derive(Debug)]
struct ChecksBeforeItTakes;

impl Sin for ChecksBeforeItTakes {
    const NAME: &'static str = "checks-before-it-takes";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "exclusion::one_of_concurrent_attempts_succeeds_and_the_others_return",
        "of four concurrent attempts on one lock succeeded",
    )];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)?;
        Ok(Arc::new(InTwoSteps { file: Path::new(url.place()).join(format!("owned-{id}")) }))
    }
}

#[derive(Debug)]
struct InTwoSteps {
    file: PathBuf,
}

impl RawLock for InTwoSteps {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        repeat(deadline, || {
            if self.file.exists() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(Duration::from_micros(200));
            fs::write(&self.file, "").map_err(|error| Error::system("write", error))?;
            Ok(Acquired::Held { token: 0 })
        })
    }

    fn release(&self, _: Proof) -> Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::system("unlink", error)),
            _ => Ok(()),
        }
    }
}
