//! Wrong backends whose locks between threads and between processes are inconsistent with each other.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use std::{fs, io, process};

use lock_core::{
    Acquired, Capabilities, Deadline, Error, Holder, LockId, Manager, OwnerKind, Proof, RawLock, Result, StoreUrl, Tokens,
};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, is_due, rarely};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<ReleasesTheClaimFirst>(),
        rarely::<ReleasesTheClaimFirst>(),
        faulty::<KeepsItsMutexWhileItWaits>(),
        rarely::<KeepsItsMutexWhileItWaits>(),
        faulty::<WaitsForRecordLocks>(),
        rarely::<WaitsForRecordLocks>(),
        faulty::<ChecksBeforeItTakes>(),
        rarely::<ChecksBeforeItTakes>(),
    ]
}

/// Returns a request for a lock of this kind on the whole file.
fn whole(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn system(errno: Errno) -> Error {
    Error::system("fcntl", errno)
}

/// Opens an additional file for a lock in the store of the honest backend.
pub(super) fn beside(url: &StoreUrl, id: LockId) -> Result<File> {
    let path = format!("{}/beside-{id}", url.location().display());
    let options = File::options().read(true).write(true).create(true).truncate(false).to_owned();
    // The program owns the numbers below 3; `try_clone` returns a greater one.
    options.open(path).and_then(|file| file.try_clone()).map_err(|error| Error::system("open", error))
}

/// A claim that excludes the threads of a process, and a file lock that excludes other processes.
#[derive(Debug)]
struct Claimed {
    claim: AtomicBool,
    file: File,
}

#[derive(Debug)]
struct ReleasesTheClaimFirst;

impl Fault for ReleasesTheClaimFirst {
    const NAME: &'static str = "gives-the-claim-up-first";
    const FAULT: &'static str = "Releases the claim of the thread before the file lock, which belongs to the whole process";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("exclusion::attempts_of_two_threads_exclude_a_waiting_process", "found another thread in its critical section")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_tokens(Tokens::Unsupported);

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
        if is_due(Operation::Release) {
            self.claim.store(false, Ordering::Release);
            thread::sleep(Duration::from_micros(100));
        }
        let done = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole(libc::F_UNLCK))).map(drop).map_err(system);
        self.claim.store(false, Ordering::Release);
        done
    }
}

#[derive(Debug)]
struct KeepsItsMutexWhileItWaits;

impl Fault for KeepsItsMutexWhileItWaits {
    const NAME: &'static str = "keeps-its-mutex-while-it-waits";
    const FAULT: &'static str =
        "Waits for another process while it holds a mutex that each thread of its process needs for an attempt";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("exclusion::a_waiting_thread_delays_no_other_thread", "does not return from try_lock")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(WithMutex { honest: honest.lock(id)?, mutex: &MUTEXES[id.index() % MUTEXES.len()] }))
    }
}

/// A mutex for the threads of a process.
///
/// A locked mutex contains the pid of the process, so that it is unlocked in a forked child.
#[derive(Debug)]
struct ProcessMutex(AtomicU32);

/// A mutex for each lock.
///
/// The lookup needs no other mutex, which another thread could have locked at the time of a fork.
static MUTEXES: [ProcessMutex; 1024] = [const { ProcessMutex(AtomicU32::new(0)) }; 1024];

impl ProcessMutex {
    fn lock(&self) {
        let this = process::id();
        while self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |locker| (locker != this).then_some(this)).is_err() {
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn unlock(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// A lock with a mutex for the threads of a process.
#[derive(Debug)]
struct WithMutex {
    honest: Arc<dyn RawLock>,
    mutex: &'static ProcessMutex,
}

impl WithMutex {
    /// Waits for the lock. Keeps the mutex locked if another process is the owner, and unlocks it otherwise.
    fn wait_locked(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = self.honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        let owner = self.honest.holder()?.map(|owner| owner.pid);
        if owner.is_none_or(|owner| owner == process::id()) || !is_due(Operation::Wait) {
            self.mutex.unlock();
        }
        self.honest.acquire(deadline)
    }
}

impl RawLock for WithMutex {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.mutex.lock();
        let acquired = self.wait_locked(deadline);
        // If this thread waited without the mutex, another thread can hold it now. Its mutex is then unlocked early.
        self.mutex.unlock();
        acquired
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct WaitsForRecordLocks;

impl Fault for WaitsForRecordLocks {
    const NAME: &'static str = "waits-for-record-locks";
    const FAULT: &'static str = "Waits by F_SETLKW, which reports a deadlock because it treats all threads of a process as one";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("exclusion::crossed_waits_of_threads_are_no_deadlock", "deadlock")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)?;
        Ok(Arc::new(RecordLock::on(beside(url, id)?)))
    }
}

/// A file lock that belongs to the process, and a claim that excludes its threads.
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
            Deadline::Never => match fcntl(&self.file, FcntlArg::F_SETLKW(&lock)) {
                Ok(_) => Ok(Acquired::Held { token: 0 }),
                // The rare variant retries most of the refused waits.
                Err(Errno::EDEADLK) if !is_due(Operation::Wait) => repeat(deadline, || set(FcntlArg::F_SETLK(&lock))),
                Err(errno) => Err(system(errno)),
            },
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

#[derive(Debug)]
struct ChecksBeforeItTakes;

impl Fault for ChecksBeforeItTakes {
    const NAME: &'static str = "checks-before-it-takes";
    const FAULT: &'static str = "Checks that the lock has no owner, and records itself as the owner in a separate step";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "exclusion::one_of_concurrent_attempts_succeeds_and_the_others_return",
        "of four concurrent attempts on one lock succeeded",
    )];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        honest.lock(id)?;
        Ok(Arc::new(InTwoSteps { file: url.location().join(format!("owned-{id}")) }))
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
            let is_wrong = is_due(Operation::Try);
            if is_wrong {
                thread::sleep(Duration::from_micros(200));
            }
            match File::options().write(true).create(true).truncate(true).create_new(!is_wrong).open(&self.file) {
                Ok(_) => Ok(Acquired::Held { token: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Acquired::TimedOut),
                Err(error) => Err(Error::system("open", error)),
            }
        })
    }

    fn release(&self, _: Proof) -> Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::system("unlink", error)),
            _ => Ok(()),
        }
    }
}
