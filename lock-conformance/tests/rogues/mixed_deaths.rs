//! A wrong backend that confuses the threads of a dead process.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

use lock_core::{Acquired, Deadline, Holder, LockId, Manager, OwnerKind, Proof, RawLock, Result, StoreUrl};
use nix::unistd::gettid;

use super::Faulty;
use super::fault::{Fault, faulty};

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<NamesAWaiterOfTheDead>()]
}

#[derive(Debug)]
struct NamesAWaiterOfTheDead;

impl Fault for NamesAWaiterOfTheDead {
    const NAME: &'static str = "names-a-waiter-of-the-dead";
    const FAULT: &'static str = "Records the last thread of its process that tried to acquire the lock as the owner";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "owner_death::mixed::a_killed_process_frees_the_lock_to_one_waiting_thread_at_a_time",
        "held the lock, but the report names thread",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(OfProcess { honest: honest.lock(id)?, note: format!("{}/asked-{id}", url.location().display()).into() }))
    }
}

/// A lock with a note of the last thread that tried to acquire it while another thread of the process held it.
#[derive(Debug)]
struct OfProcess {
    honest: Arc<dyn RawLock>,
    note: PathBuf,
}

impl OfProcess {
    fn noted(&self) -> Option<Holder> {
        let note = fs::read_to_string(&self.note).ok()?;
        let (pid, tid) = note.split_once(' ')?;
        Some(Holder::of_process(pid.parse().ok()?).with_thread(tid.parse().ok()?))
    }
}

impl RawLock for OfProcess {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut acquired = self.honest.acquire(Deadline::Now)?;
        if acquired == Acquired::TimedOut && deadline != Deadline::Now {
            if deadline == Deadline::Never && self.honest.holder()?.is_some_and(|holder| holder.pid == process::id()) {
                let _ = fs::write(&self.note, format!("{} {}", process::id(), gettid()));
            }
            acquired = self.honest.acquire(deadline)?;
        }
        if let Acquired::Recovered(recovery) = &mut acquired
            && let Some(noted) = self.noted()
            && recovery.death.holder.as_ref().is_some_and(|dead| dead.pid == noted.pid)
        {
            recovery.death.holder = Some(noted);
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let _ = fs::remove_file(&self.note);
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
