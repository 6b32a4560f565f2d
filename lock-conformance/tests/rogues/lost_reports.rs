//! Wrong backends that lose the report of a death, or a waiter, as a side effect.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Condition, Deadline, Error, Holder, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, StoreUrl,
};
use nix::fcntl::{Flock, FlockArg};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<FreesTheReportWithTheId>(),
        faulty::<ForgetsWhenAllHaveClosedTheStore>(),
        faulty::<WakesNoWaiterAfterAnInconsistentRelease>(),
    ]
}

#[derive(Debug)]
struct FreesTheReportWithTheId;

impl Fault for FreesTheReportWithTheId {
    const NAME: &'static str = "frees-the-report-with-the-id";
    const FAULT: &'static str = "Drops the report of a death when the id is freed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::freeing_and_allocating_again_keeps_the_report", "although no owner marked")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let _ = fs::write(freed(url, id), "");
        honest.free(id, None)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(SilentIf { honest: honest.lock(id)?, is_silent: Box::new(exists(freed(url, id))) }))
    }
}

fn freed(url: &StoreUrl, id: LockId) -> String {
    format!("{}/freed-{id}", url.location().display())
}

fn exists(file: String) -> impl Fn() -> bool + Send + Sync {
    move || fs::metadata(&file).is_ok()
}

#[derive(Debug)]
struct ForgetsWhenAllHaveClosedTheStore;

impl Fault for ForgetsWhenAllHaveClosedTheStore {
    const NAME: &'static str = "forgets-when-all-have-closed-the-store";
    const FAULT: &'static str = "Drops all reports when the last process closes the store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_report_outlives_all_processes_that_have_the_store_open", "although no owner marked")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let opened = reference::open(url, mode)?;
        let used = File::options().append(true).create(true).open(format!("{}/used", url.location().display()));
        let used = used.map_err(|error| Error::system("open", error))?;
        // Other users open the file, too. Only its creator can change the mode.
        let _ = used.set_permissions(Permissions::from_mode(0o666));
        // The program owns the numbers below 3; `try_clone` returns a greater one.
        let used = used.try_clone().map_err(|error| Error::system("fcntl", error))?;
        // Each process that has opened the store holds a shared lock.
        let mut used = match Flock::lock(used, FlockArg::LockExclusiveNonblock) {
            Ok(alone) => {
                if alone.metadata().is_ok_and(|facts| facts.len() > 0) {
                    let _ = fs::write(format!("{}/forgotten", url.location().display()), "");
                }
                alone.unlock().map_err(|(_, errno)| Error::system("flock", errno))?
            }
            Err((used, _)) => used,
        };
        let _ = used.write_all(b"used");
        std::mem::forget(Flock::lock(used, FlockArg::LockShared));
        Ok(opened)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let forgotten = format!("{}/forgotten", url.location().display());
        Ok(Arc::new(SilentIf { honest: honest.lock(id)?, is_silent: Box::new(exists(forgotten)) }))
    }
}

/// A lock that drops reports under a condition.
struct SilentIf {
    honest: Arc<dyn RawLock>,
    is_silent: Box<dyn Fn() -> bool + Send + Sync + UnwindSafe + RefUnwindSafe>,
}

impl RawLock for SilentIf {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(match self.honest.acquire(deadline)? {
            Acquired::Recovered(recovery) if (self.is_silent)() => Acquired::Held { token: recovery.token },
            acquired => acquired,
        })
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

impl std::fmt::Debug for SilentIf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SilentIf").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct WakesNoWaiterAfterAnInconsistentRelease;

impl Fault for WakesNoWaiterAfterAnInconsistentRelease {
    const NAME: &'static str = "wakes-nobody-after-an-inconsistent-release";
    const FAULT: &'static str = "Wakes no waiter when an owner releases the lock without marking it consistent";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::sleeping_waiters_each_get_the_report_and_none_is_lost", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let file = format!("{}/asleep-{id}", url.location().display());
        Ok(Arc::new(SleepsWhile { honest: honest.lock(id)?, file }))
    }
}

/// A lock whose waiters sleep while a file exists.
#[derive(Debug)]
struct SleepsWhile {
    honest: Arc<dyn RawLock>,
    file: String,
}

impl RawLock for SleepsWhile {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut acquired = self.honest.acquire(Deadline::Now)?;
        while acquired == Acquired::TimedOut && !deadline.has_passed() {
            thread::sleep(Duration::from_micros(500));
            if fs::metadata(&self.file).is_err() {
                acquired = self.honest.acquire(Deadline::Now)?;
            }
        }
        if acquired != Acquired::TimedOut {
            let _ = fs::remove_file(&self.file);
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        if proof.condition() == Condition::Inconsistent {
            let _ = fs::write(&self.file, "");
        }
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
