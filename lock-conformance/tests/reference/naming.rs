//! The reference backend with a list of waiting threads.
//!
//! The directory `waits` of the store has a file for each thread that has ever waited. While the thread waits, the file names the lock,
//! and the process has it locked.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Deadline, Error, Generation, HeldLock, Holder, Label, LockId, Manager, OpenMode,
    OwnerKind, Proof, RawLock, Reconciled, Result, StoreId, StoreUrl, Waiter, Waiters, Waits,
};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::time::ClockId;
use nix::unistd::gettid;

use super::file_thread::{FileThread, Key};
use super::lock::{command_of, whole_file};
use super::options::Access;
use super::sending;
use super::sys::PerProcess;

pub(crate) const CLAIMS: Capabilities = sending::CLAIMS.with_waiters(Waiters::Named);

pub(crate) const BACKEND: Backend =
    Backend::new("naming", "lock-conformance", "locks on small files, with the names of waiting threads", open).with(CLAIMS);

pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let honest = sending::open(url, mode)?;
    let directory = url.location().join("waits");
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::system("mkdir", error)),
        _ => Ok(Arc::new(Naming { honest, directory })),
    }
}

#[derive(Debug)]
struct Naming {
    honest: Arc<dyn Manager>,
    directory: PathBuf,
}

/// A lock whose waiters are recorded.
struct NamedLock {
    honest: Arc<dyn RawLock>,
    store: u128,
    directory: PathBuf,
    id: LockId,
}

/// The record of a wait of the calling thread, until it is dropped.
struct Wait {
    key: Key,
}

impl Wait {
    /// Records that the calling thread waits. Without a file, as in a removed store, it does nothing.
    fn begin(lock: &NamedLock) -> Self {
        static PROCESS: PerProcess<u64> = PerProcess::new();
        let process = PROCESS.get().copied().or_else(|| PROCESS.set(now()).ok().copied()).unwrap_or_default();
        let (pid, tid) = (process::id(), gettid());
        let text = format!("{} {} {pid} {tid} {}\n", lock.id, now(), command_of(pid));
        let key = (lock.store, lock.directory.join(format!("{process}-{pid}-{tid}")));
        let _ = FileThread::run(&key, Access::DEFAULT, move |open| {
            let written = open.file.set_len(0).and_then(|()| open.file.write_all_at(text.as_bytes(), 0));
            written.map_err(|error| Error::system("pwrite", error))?;
            let locked = fcntl(&open.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK)));
            locked.map(drop).map_err(|errno| Error::system("fcntl", errno))
        });
        Self { key }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let _ = FileThread::run(&self.key, Access::DEFAULT, |open| {
            let unlocked = fcntl(&open.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
            unlocked.map(drop).map_err(|errno| Error::system("fcntl", errno))
        });
    }
}

/// Returns the time of the monotonic clock in nanoseconds.
fn now() -> u64 {
    ClockId::CLOCK_MONOTONIC.now().map_or(0, |now| Duration::from(now).as_nanos() as u64)
}

/// Reads a record. Returns `None` if its thread does not wait.
fn read(path: &Path) -> Option<Waiter> {
    let file = File::open(path).ok()?;
    let mut lock = whole_file(libc::F_RDLCK);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let [id, start, pid, tid, command] = text.trim_end().splitn(5, ' ').collect::<Vec<_>>()[..] else { return None };
    let thread = Holder::of_process(pid.parse().ok()?).with_thread(tid.parse().ok()?).with_command(command);
    let waited = now().saturating_sub(start.parse().ok()?);
    Some(Waiter::new(LockId::new(id.parse().ok()?), thread).with_waited(Some(Duration::from_nanos(waited))))
}

fn list(directory: &Path) -> Waits {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    Waits::new(entries.filter_map(|entry| read(&entry.path())).collect(), None)
}

fn count(directory: &Path, id: LockId) -> u32 {
    list(directory).waiters.iter().filter(|waiter| waiter.id == id).count() as u32
}

impl NamedLock {
    fn acquire_as(&self, owner: OwnerKind, deadline: Deadline, wait: &mut Option<Wait>) -> Result<Acquired> {
        let attempt = |deadline| match owner {
            OwnerKind::Process => self.honest.acquire_for_process(deadline),
            _ => self.honest.acquire(deadline),
        };
        let acquired = attempt(Deadline::Now);
        let is_busy = match &acquired {
            Ok(acquired) => *acquired == Acquired::TimedOut,
            Err(_) => false,
        };
        if !is_busy || deadline.has_passed() {
            return acquired;
        }
        wait.get_or_insert_with(|| Wait::begin(self));
        attempt(deadline)
    }
}

impl fmt::Debug for NamedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedLock").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RawLock for NamedLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline, &mut None)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Process, deadline, &mut None)
    }

    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        let mut wait = None;
        while let Some(deadline) = next() {
            let acquired = self.acquire_as(owner, deadline, &mut wait)?;
            if acquired != Acquired::TimedOut {
                return Ok(acquired);
            }
        }
        Ok(Acquired::TimedOut)
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

    fn waiters(&self) -> Option<u32> {
        Some(count(&self.directory, self.id))
    }
}

impl Manager for Naming {
    fn id(&self) -> StoreId {
        self.honest.id()
    }

    fn check(&self) -> Result<()> {
        self.honest.check()
    }

    fn capacity(&self) -> Option<u64> {
        self.honest.capacity()
    }

    fn token_base(&self) -> u64 {
        self.honest.token_base()
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        let honest = self.honest.lock(id)?;
        Ok(Arc::new(NamedLock { honest, store: self.id().get(), directory: self.directory.clone(), id }))
    }

    fn allocate_temporary(&self, label: &Label) -> Result<LockId> {
        self.honest.allocate_temporary(label)
    }

    fn reclaim(&self) -> Result<Vec<LockId>> {
        self.honest.reclaim()
    }

    fn grow(&self, capacity: Option<u64>) -> Result<()> {
        self.honest.grow(capacity)
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        self.honest.allocate(label)
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.honest.allocate_exact(id, label)
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        self.honest.named(name)
    }

    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.honest.free(id, generation)
    }

    fn free_all(&self) -> Result<u64> {
        self.honest.free_all()
    }

    fn available(&self) -> Result<Option<u64>> {
        self.honest.available()
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.honest.allocated()
    }

    fn reconcile(&self, ids: &std::collections::BTreeMap<LockId, Label>) -> Result<Reconciled> {
        self.honest.reconcile(ids)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        let mut held = self.honest.held()?;
        held.iter_mut().for_each(|lock| lock.waiters = Some(count(&self.directory, lock.id)));
        Ok(held)
    }

    fn waiting(&self) -> Result<Waits> {
        Ok(list(&self.directory))
    }

    fn destroy(&self) -> Result<()> {
        self.honest.destroy()
    }
}
