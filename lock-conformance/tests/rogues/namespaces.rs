//! Wrong backends that misjudge processes and threads of other PID namespaces.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Deadline, Death, Error, ErrorKind, Holder, LockId, Manager, Proof, RawLock, Recovery, Result,
    StoreUrl, ThreadDeath,
};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::gettid;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::lockers::altered;
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<TakesThreadsForItself>(),
        faulty::<MistakesWaitersForOwners>(),
        faulty::<ForgetsEqualThreads>(),
        faulty::<GrantsAfterADeath>(),
        faulty::<WatchesItsOwnThreads>(),
    ]
}

fn thread_id() -> u32 {
    gettid().as_raw().cast_unsigned()
}

/// Checks whether the holder has the ids of the calling thread, and is not a main thread.
fn is_like_this_thread(holder: &Holder) -> bool {
    (holder.pid, holder.tid) == (process::id(), thread_id()) && holder.tid != holder.pid
}

/// Polls the lock until `otherwise` replaces a timeout or the wait ends.
pub(super) fn poll(
    honest: &dyn RawLock,
    deadline: Deadline,
    mut otherwise: impl FnMut() -> Option<Acquired>,
) -> Result<Acquired> {
    loop {
        let acquired = honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut {
            return Ok(acquired);
        }
        if let Some(other) = otherwise() {
            return Ok(other);
        }
        if deadline.has_passed() {
            return Ok(acquired);
        }
        thread::sleep(Duration::from_micros(500));
    }
}

#[derive(Debug)]
struct TakesThreadsForItself;

impl Fault for TakesThreadsForItself {
    const NAME: &'static str = "takes-threads-for-itself";
    const FAULT: &'static str = "Mistakes a thread with equal ids in another namespace for itself";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::threads_with_equal_ids_exclude_each_other", "was refused \"find_busy 0\": AlreadyHeld")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        match honest.holder()? {
            // Another case covers threads that wait.
            Some(holder) if is_like_this_thread(&holder) && deadline.has_passed() => Err(Error::already_held()),
            _ => honest.acquire(deadline),
        }
    }
}

#[derive(Debug)]
struct MistakesWaitersForOwners;

impl Fault for MistakesWaitersForOwners {
    const NAME: &'static str = "believes-dying-waiters";
    const FAULT: &'static str =
        "Mistakes the death of a waiter for that of an owner with the same thread id, as the kernel does with robust lists";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "namespaces::the_death_of_a_waiter_with_the_owners_thread_id_leaves_the_owner_alone",
        "the thread that died was a waiter with the same id",
    )];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(WithNotes { honest: honest.lock(id)?, dir: url.location().into(), prefix: format!("waiter-{id}-") }))
    }
}

/// A lock whose waiters write notes. Each waiter holds a lock on its note.
#[derive(Debug)]
struct WithNotes {
    honest: Arc<dyn RawLock>,
    dir: PathBuf,
    prefix: String,
}

impl WithNotes {
    /// Checks whether a waiter with this thread id has died.
    fn has_lost_waiter(&self, tid: u32) -> bool {
        let notes = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        notes.filter(|note| note.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&self.prefix))).any(|note| {
            let is_of_thread = fs::read_to_string(&note).is_ok_and(|text| text == tid.to_string());
            is_of_thread && File::open(&note).is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok())
        })
    }
}

impl RawLock for WithNotes {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let note = tempfile::Builder::new().prefix(&self.prefix).tempfile_in(&self.dir);
        let note = note.map_err(|error| Error::system("open a note", error))?;
        let file = note.as_file().try_clone().map_err(|error| Error::system("dup", error))?;
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::system("flock", errno))?;
        write!(file, "{}", thread_id()).map_err(|error| Error::system("write", error))?;
        let acquired = poll(&*self.honest, deadline, || {
            let holder = self.honest.holder().ok()??;
            self.has_lost_waiter(holder.tid).then_some(Acquired::Held { token: u64::MAX })
        });
        // The note is removed before it is unlocked, because an unlocked note indicates a dead waiter.
        drop(note);
        acquired
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct ForgetsEqualThreads;

impl Fault for ForgetsEqualThreads {
    const NAME: &'static str = "forgets-equal-threads";
    const FAULT: &'static str = "Mistakes a dead thread with equal ids for itself, and does not report its death";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::the_deaths_of_threads_with_equal_ids_are_reported_once_each", "was not reported")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let is_other = |death: &Death| !death.holder.as_ref().is_some_and(is_like_this_thread);
        Ok(altered(honest.acquire(deadline)?, |token, death| (token, death.filter(is_other))))
    }
}

#[derive(Debug)]
struct GrantsAfterADeath;

static SAW_A_DEATH: AtomicBool = AtomicBool::new(false);

impl Fault for GrantsAfterADeath {
    const NAME: &'static str = "enters-after-a-death";
    const FAULT: &'static str = "Considers the lock of a thread with equal ids free after the death of another such thread";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::sections_of_threads_with_equal_ids_do_not_overlap_after_a_death", "Lost")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = poll(honest, deadline, || {
            let holder = honest.holder().ok()??;
            let token = u64::MAX;
            (SAW_A_DEATH.load(Ordering::Relaxed) && is_like_this_thread(&holder)).then_some(Acquired::Held { token })
        })?;
        if let Acquired::Recovered(recovery) = &acquired {
            SAW_A_DEATH.fetch_or(recovery.death.holder.as_ref().is_some_and(is_like_this_thread), Ordering::Relaxed);
        }
        Ok(acquired)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        match honest.release(proof) {
            Err(error) if matches!(error.kind(), ErrorKind::NotHeld) => Ok(()),
            other => other,
        }
    }
}

#[derive(Debug)]
struct WatchesItsOwnThreads;

impl Fault for WatchesItsOwnThreads {
    const NAME: &'static str = "watches-its-own-threads";
    const FAULT: &'static str = "Claims to detect the end of every thread, but detects it in the calling process only";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::a_thread_that_ends_frees_its_lock_for_another_namespace", "watchdog")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_thread_death(ThreadDeath::Reported);

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(WatchingThreads::new(honest.lock(id)?)))
    }
}

/// A lock that a thread of this process recovers from another thread that has ended.
///
/// The lock below then stays locked.
#[derive(Debug)]
pub(super) struct WatchingThreads {
    honest: Arc<dyn RawLock>,
    /// The thread of this process that holds the lock, or 0.
    owner: AtomicU32,
    /// Whether a thread that has ended still owns the lock below.
    is_left: AtomicBool,
}

impl WatchingThreads {
    pub(super) fn new(honest: Arc<dyn RawLock>) -> Self {
        Self { honest, owner: AtomicU32::new(0), is_left: AtomicBool::new(false) }
    }

    /// Takes over the lock from a thread of this process that has ended.
    ///
    /// Also acquires a lock that was taken over earlier and has been released.
    fn take_over(&self) -> Option<Acquired> {
        let owner = self.owner.load(Ordering::Relaxed);
        let has_ended = owner != 0 && !Path::new(&format!("/proc/self/task/{owner}")).exists();
        let is_free = owner == 0 && self.is_left.load(Ordering::Relaxed);
        if !has_ended && !is_free
            || self.owner.compare_exchange(owner, thread_id(), Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return None;
        }
        let token = u64::MAX;
        if is_free {
            return Some(Acquired::Held { token });
        }
        self.is_left.store(true, Ordering::Relaxed);
        let death = Death::of(Some(Holder::of_process(process::id()).with_thread(owner)));
        Some(Acquired::Recovered(Box::new(Recovery { token, death })))
    }
}

impl RawLock for WatchingThreads {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = poll(&*self.honest, deadline, || self.take_over())?;
        if acquired != Acquired::TimedOut {
            self.owner.store(thread_id(), Ordering::Relaxed);
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.owner.store(0, Ordering::Relaxed);
        if self.is_left.load(Ordering::Relaxed) { Ok(()) } else { self.honest.release(proof) }
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
