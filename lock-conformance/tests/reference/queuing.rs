//! The reference backend with a queue of waiting threads.
//!
//! The directory `queue` of the store has a file for each thread that has ever waited, which the thread has locked while it waits. The
//! place of a waiter is a second name of that file: the lock, a ticket and the pid. The file `tickets` has the last ticket. A place whose
//! file is not locked is that of a dead waiter.

use std::fmt::{self, Debug};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Backend, Capabilities, Deadline, Error, Fairness, Holder, Manager, OpenMode, OwnerKind, Proof, RawLock, Result,
    StoreUrl, Waiters,
};
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use nix::unistd::gettid;

use super::file_thread::{FileThread, Key};
use super::lock::{FileLock, whole_file};
use super::manager;
use super::options::Access;
use super::sending;

pub(crate) const CLAIMS: Capabilities = sending::CLAIMS.with_waiters(Waiters::Counted).with_fairness(Fairness::Queued);

pub(crate) const BACKEND: Backend =
    Backend::new("queuing", "lock-conformance", "locks on small files, with a queue of waiting threads", open).with(CLAIMS);

fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    open_with::<InOrder>(url, mode)
}

/// Opens a store whose waiters are served in the order of `O`.
pub(crate) fn open_with<O: Order>(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    manager::open_with(url, mode, |lock| Arc::new(QueuedLock::<O>::new(lock)))
}

/// The order in which waiters are served.
pub(crate) trait Order: Debug + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static {
    /// Decides whether a caller may acquire the lock now if it is free. The queue is in the order of tickets.
    fn is_next(caller: Caller, queue: &[Queued]) -> bool;

    /// Removes the place of a waiter whose wait is over. `acquired` is false if it timed out.
    fn leave(place: Place, _acquired: bool) {
        drop(place);
    }
}

/// A thread that wants a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caller {
    /// It makes one attempt.
    Attempt,
    /// It is about to wait.
    Newcomer,
    /// It waits with this ticket.
    Waiter(u64),
}

/// A place in a queue, as other threads see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) ticket: u64,
    pub(crate) is_alive: bool,
}

/// First come, first served.
#[derive(Debug)]
struct InOrder;

impl Order for InOrder {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        is_first(caller, queue)
    }
}

/// Returns whether no live waiter is before the caller.
pub(crate) fn is_first(caller: Caller, queue: &[Queued]) -> bool {
    let first = queue.iter().find(|place| place.is_alive);
    first.is_none_or(|first| caller == Caller::Waiter(first.ticket))
}

/// A lock with a queue.
struct QueuedLock<O> {
    honest: Arc<FileLock>,
    order: PhantomData<O>,
}

impl<O: Order> QueuedLock<O> {
    fn new(honest: Arc<FileLock>) -> Self {
        Self { honest, order: PhantomData }
    }

    /// Returns the places of the lock.
    fn places(&self) -> Vec<Queued> {
        let (directory, lock) = directory_and_lock(self.honest.path());
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut places: Vec<_> = entries.filter_map(|entry| read(&entry.path(), &lock)).collect();
        places.sort_unstable_by_key(|place| place.ticket);
        places
    }

    fn is_next(&self, caller: Caller) -> bool {
        O::is_next(caller, &self.places())
    }

    fn acquire_as(&self, owner: OwnerKind, deadline: Deadline, place: &mut Option<Place>) -> Result<Acquired> {
        if self.honest.is_held_by_caller()? {
            return Err(Error::already_held());
        }
        let attempt = || self.honest.acquire_as(owner, Deadline::Now);
        if place.is_none() {
            let caller = if deadline == Deadline::Now { Caller::Attempt } else { Caller::Newcomer };
            let acquired = if self.is_next(caller) { attempt()? } else { Acquired::TimedOut };
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            *place = Place::take(self.honest.key());
        }
        loop {
            // A lock of a removed store has no queue.
            if place.as_ref().is_none_or(|place| self.is_next(Caller::Waiter(place.ticket))) {
                let acquired = attempt()?;
                if acquired != Acquired::TimedOut {
                    return Ok(acquired);
                }
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            let pause = Duration::from_micros(500);
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        }
    }

    /// Acquires the lock with the deadlines that `next` returns, and keeps the place in the queue in between.
    fn acquire_in_turns(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        let (mut place, mut result) = (None, Ok(Acquired::TimedOut));
        while let Some(deadline) = next() {
            result = self.acquire_as(owner, deadline, &mut place);
            if !matches!(result, Ok(Acquired::TimedOut)) {
                break;
            }
        }
        if let Some(place) = place {
            O::leave(place, matches!(result, Ok(Acquired::Held { .. } | Acquired::Recovered(_))));
        }
        result
    }

    fn acquire_once(&self, owner: OwnerKind, deadline: Deadline) -> Result<Acquired> {
        let mut once = Some(deadline);
        self.acquire_in_turns(owner, &mut || once.take())
    }
}

impl<O> Debug for QueuedLock<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedLock").field("honest", &self.honest).finish_non_exhaustive()
    }
}

impl<O: Order> RawLock for QueuedLock<O> {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_once(OwnerKind::Thread, deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_once(OwnerKind::Process, deadline)
    }

    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        self.acquire_in_turns(owner, next)
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
        Some(self.places().iter().filter(|place| place.is_alive).count() as u32)
    }
}

/// The place of the calling thread in a queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Place {
    ticket: u64,
    /// The name with the ticket.
    path: PathBuf,
    /// The file of the thread.
    key: Key,
}

impl Place {
    /// Joins the queue of the lock with this key. Returns `None` if the store was removed.
    fn take((store, path): &Key) -> Option<Self> {
        let (directory, lock) = directory_and_lock(path);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        let (pid, tid) = (process::id(), gettid());
        let key = (*store, directory.join(format!("thread-{pid}-{tid}")));
        set_lock(&key, libc::F_WRLCK).ok()?;
        let ticket = next_ticket(&directory).ok()?;
        let path = directory.join(format!("{lock}-{ticket}-{pid}"));
        fs::hard_link(&key.1, &path).ok()?;
        Some(Self { ticket, path, key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = set_lock(&self.key, libc::F_UNLCK);
    }
}

/// Locks or unlocks the file of a thread.
fn set_lock(key: &Key, kind: i32) -> Result<()> {
    FileThread::run(key, Access::DEFAULT, move |open| {
        let set = fcntl(&open.file, FcntlArg::F_OFD_SETLK(&whole_file(kind)));
        set.map(drop).map_err(|errno| Error::system("fcntl", errno))
    })
}

/// Returns the directory of the queues, and the name of the lock with this file.
fn directory_and_lock(path: &Path) -> (PathBuf, String) {
    let store = path.parent().and_then(Path::parent).expect("the file of a lock is in a directory of the store");
    let lock = path.file_name().expect("a lock has a file").to_string_lossy().into_owned();
    (store.join("queue"), lock)
}

fn next_ticket(directory: &Path) -> io::Result<u64> {
    let options = || File::options().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
    let file = options().open(directory.join("tickets"))?;
    let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
    let mut bytes = [0; 8];
    // An empty file has no bytes, and the last ticket is 0.
    let _ = file.read_at(&mut bytes, 0)?;
    let ticket = u64::from_le_bytes(bytes) + 1;
    file.write_all_at(&ticket.to_le_bytes(), 0)?;
    Ok(ticket)
}

/// Reads a place in the queue of a lock. Returns `None` for other files, and for a place that was left meanwhile.
fn read(path: &Path, lock: &str) -> Option<Queued> {
    let name = path.file_name()?.to_str()?;
    let [of, ticket, _pid] = name.split('-').collect::<Vec<_>>()[..] else { return None };
    if of != lock {
        return None;
    }
    let ticket = ticket.parse().ok()?;
    let file = File::open(path).ok()?;
    let mut held = whole_file(libc::F_RDLCK);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut held)).ok()?;
    Some(Queued { ticket, is_alive: i32::from(held.l_type) != libc::F_UNLCK })
}
