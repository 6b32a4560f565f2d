//! Wrong backends that recover a death only for a caller that waits, and some that replace libc's robust list.

use std::fs;
use std::sync::Arc;

use lock_core::{
    Acquired, Capabilities, Deadline, Error, Holder, LockId, Manager, Proof, RawLock, Result, StoreUrl, ThreadDeath,
};
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid, gettid};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::namespaces::WatchingThreads;
use super::sys;
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<WaitsAfterExec>(),
        faulty::<WaitsBeyondTheWalk>(),
        faulty::<WaitsForThreads>(),
        faulty::<ReplacesTheListOfAProcess>(),
        faulty::<ReplacesTheListOfAThread>(),
    ]
}

/// Returns the pid in the file of a lock: that of its owner, or of a dead owner that is not recovered yet.
pub(super) fn process_in_file(url: &StoreUrl, id: LockId) -> Option<u32> {
    let bytes = fs::read(format!("{}/locks/{id}", url.location().display())).ok()?;
    let pid = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
    (pid != 0).then_some(pid)
}

fn process_exists(pid: u32) -> bool {
    kill(Pid::from_raw(pid.cast_signed()), None).is_ok()
}

/// A lock that does not recover some deaths in an attempt without a wait.
#[derive(Debug)]
struct IgnoresDeathsInAttempts {
    honest: Arc<dyn RawLock>,
    url: StoreUrl,
    id: LockId,
    /// Checks whether the death of the process in the lock's file is one of these deaths.
    leaves: fn(LockId, u32) -> bool,
}

impl IgnoresDeathsInAttempts {
    fn on(honest: &dyn Manager, url: &StoreUrl, id: LockId, leaves: fn(LockId, u32) -> bool) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Self { honest: honest.lock(id)?, url: url.clone(), id, leaves }))
    }
}

impl RawLock for IgnoresDeathsInAttempts {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let is_left = |pid| (self.leaves)(self.id, pid);
        if deadline == Deadline::Now && process_in_file(&self.url, self.id).is_some_and(is_left) {
            return Ok(Acquired::TimedOut);
        }
        self.honest.acquire(deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct WaitsAfterExec;

impl Fault for WaitsAfterExec {
    const NAME: &'static str = "waits-after-exec";
    const FAULT: &'static str = "Without a wait, does not recover the lock of a process that executed another program";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::trying_recovers_a_lock_after_exec_by_another_thread", "did not recover the lock")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        IgnoresDeathsInAttempts::on(honest, url, id, |_, pid| process_exists(pid))
    }
}

#[derive(Debug)]
struct WaitsBeyondTheWalk;

impl Fault for WaitsBeyondTheWalk {
    const NAME: &'static str = "waits-beyond-the-walk";
    const FAULT: &'static str = "Without a wait, does not recover the locks of a dead process beyond the kernel's limit";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::trying_recovers_more_locks_of_a_process_than_the_kernel_walks", "did not recover the lock")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        IgnoresDeathsInAttempts::on(honest, url, id, |id, pid| id.get() >= 2048 && !process_exists(pid))
    }
}

#[derive(Debug)]
struct WaitsForThreads;

impl Fault for WaitsForThreads {
    const NAME: &'static str = "waits-for-threads";
    const FAULT: &'static str = "Claims to detect the end of threads, and detects it only in a wait";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::trying_recovers_more_locks_of_a_thread_than_the_kernel_walks", "did not recover the lock")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_thread_death(ThreadDeath::Reported);

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let honest = honest.lock(id)?;
        Ok(Arc::new(OnlyIfWaiting { watching: WatchingThreads::new(Arc::clone(&honest)), honest }))
    }
}

#[derive(Debug)]
struct OnlyIfWaiting {
    honest: Arc<dyn RawLock>,
    watching: WatchingThreads,
}

impl RawLock for OnlyIfWaiting {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let is_busy = self.honest.holder()?.is_some();
        if is_busy && deadline == Deadline::Now { self.honest.acquire(deadline) } else { self.watching.acquire(deadline) }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.watching.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct ReplacesTheListOfAProcess;

impl Fault for ReplacesTheListOfAProcess {
    const NAME: &'static str = "replaces-the-list-of-a-process";
    const FAULT: &'static str = "Replaces libc's robust list in the main thread, so that the kernel does not find libc's mutexes";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::robust_mutexes_of_a_process_with_many_locks_are_recovered", "and of 3000 locks died")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if is_main_thread() {
            sys::replace_robust_list().map_err(|error| Error::system("set_robust_list", error))?;
        }
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct ReplacesTheListOfAThread;

impl Fault for ReplacesTheListOfAThread {
    const NAME: &'static str = "replaces-the-list-of-a-thread";
    const FAULT: &'static str = "Replaces libc's robust list in threads other than the main thread";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::robust_mutexes_of_a_thread_with_many_locks_are_recovered", "and of 3000 locks died")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if !is_main_thread() {
            sys::replace_robust_list().map_err(|error| Error::system("set_robust_list", error))?;
        }
        honest.acquire(deadline)
    }
}

fn is_main_thread() -> bool {
    gettid() == getpid()
}
