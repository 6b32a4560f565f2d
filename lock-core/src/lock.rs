use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::raw::{Acquired, Recovery};
use crate::sys::Pinned;
use crate::{
    Deadline, Death, Error, ErrorKind, Generation, Guard, Holder, LockId, Manager, Operation, RawLock, Result, StoreId, fork,
};

/// A lock, as users hold it: a handle that any number of threads can share and that keeps its store open.
///
/// It comes from a [`Store`](crate::Store). Handles with the same id of the same store are the same lock, in all threads of all
/// processes. Freeing the id does not hurt: the handle goes on excluding all others on that id.
///
/// # Examples
/// With the backend `shm`:
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let url = format!("shm:{}/store", directory.path().display());
/// # let registry = lock_core::Registry::default().merge([lock_shm::BACKEND])?;
/// # let store = lock_core::Store::open(&registry, &url, lock_core::OpenMode::Create)?;
/// let lock = store.allocate("an example")?;
/// {
///     let guard = lock.lock()?;
///     if let Some(death) = guard.recovered() {
///         eprintln!("{death}: checking what it left");
///     }
/// } // released
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Lock {
    raw: Pinned<dyn RawLock, dyn RawLock>,
    place: Arc<Place>,
    id: Option<LockId>,
    generation: Option<Generation>,
}

/// The store that a lock belongs to.
pub(crate) struct Place {
    pub(crate) id: StoreId,
    pub(crate) url: String,
    pub(crate) manager: Option<Arc<dyn Manager>>,
}

impl Lock {
    /// A lock that belongs to no store, as LXC's private lock; `name` stands for it in messages, and `identity` orders it in
    /// [`lock_all`](crate::lock_all()). For backends.
    pub fn standalone(raw: Arc<dyn RawLock>, name: impl Into<String>, identity: StoreId) -> Self {
        fork::current();
        let place = Place { id: identity, url: name.into(), manager: None };
        Self::new(raw, Arc::new(place), None)
    }

    pub(crate) fn new(raw: Arc<dyn RawLock>, place: Arc<Place>, id: Option<LockId>) -> Self {
        let generation = raw.generation();
        Self { raw: Pinned::whole(raw), place, id, generation }
    }

    /// The number of the lock in its store; `None` for a lock without a number.
    pub fn id(&self) -> Option<LockId> {
        self.id
    }

    /// Acquires the lock, however long it takes.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`] when this thread holds it, where the backend can tell; what the system says.
    #[inline]
    pub fn lock(&self) -> Result<Guard<'_>> {
        self.lock_by(Deadline::Never)
    }

    /// Acquires the lock if it is free; `None` when it is busy.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    #[inline]
    pub fn try_lock(&self) -> Result<Option<Guard<'_>>> {
        Ok(self.acquire(Deadline::Now)?.map(|(token, death)| Guard::borrowed(self, token, death)))
    }

    /// Acquires the lock if that succeeds within the duration, measured on the monotonic clock. It never gives up early.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`], which names the holder; otherwise as [`Lock::lock`].
    pub fn try_lock_for(&self, duration: Duration) -> Result<Guard<'_>> {
        self.lock_by(Deadline::after(duration))
    }

    /// Acquires the lock if that succeeds before the instant. It never gives up early.
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`].
    pub fn try_lock_until(&self, deadline: Instant) -> Result<Guard<'_>> {
        self.lock_by(Deadline::At(deadline))
    }

    /// Acquires the lock by the deadline.
    ///
    /// # Errors
    /// As [`Lock::try_lock_for`]; with [`Deadline::Now`], a lock that is busy is one that timed out.
    #[inline]
    pub fn lock_by(&self, deadline: Deadline) -> Result<Guard<'_>> {
        match self.acquire(deadline)? {
            Some((token, death)) => Ok(Guard::borrowed(self, token, death)),
            None => Err(self.timed_out()),
        }
    }

    /// As [`Lock::lock`], with a guard that keeps a handle of its own.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    pub fn lock_owned(&self) -> Result<Guard<'static>> {
        self.lock_owned_by(Deadline::Never)
    }

    /// As [`Lock::try_lock`], with a guard that keeps a handle of its own.
    ///
    /// # Errors
    /// As [`Lock::lock`].
    pub fn try_lock_owned(&self) -> Result<Option<Guard<'static>>> {
        Ok(self.acquire(Deadline::Now)?.map(|(token, death)| Guard::owned(self.clone(), token, death)))
    }

    /// As [`Lock::lock_by`], with a guard that keeps a handle of its own.
    ///
    /// # Errors
    /// As [`Lock::lock_by`].
    pub fn lock_owned_by(&self, deadline: Deadline) -> Result<Guard<'static>> {
        match self.acquire(deadline)? {
            Some((token, death)) => Ok(Guard::owned(self.clone(), token, death)),
            None => Err(self.timed_out()),
        }
    }

    /// Who holds the lock at this moment, where the backend knows; it takes, delays and changes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn holder(&self) -> Result<Option<Holder>> {
        self.raw.holder().map_err(|error| self.in_context(error, Operation::ListHeld))
    }

    /// How many threads wait for the lock, where the backend knows.
    pub fn waiters(&self) -> Option<u32> {
        self.raw.waiters()
    }

    /// Whether the id was freed and handed to somebody else since this handle was made. The handle excludes that somebody all the
    /// same. Always false where allocations are not counted.
    pub fn is_stale(&self) -> bool {
        self.generation != self.raw.generation()
    }

    /// Gives the id back, so that it can be allocated again. The lock stays usable through this handle and all others, and if
    /// somebody holds it, it stays held.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllocated`]; [`ErrorKind::Stale`] when the id belongs to somebody else by now (and then nothing changes).
    pub fn free(&self) -> Result<()> {
        let free = || match (&self.place.manager, self.id) {
            (Some(manager), Some(id)) => manager.free(id, self.generation),
            _ => Err(Error::unsupported("it has no number, so there is nothing to free")),
        };
        free().map_err(|error| self.in_context(error, Operation::Free))
    }

    #[inline]
    pub(crate) fn raw(&self) -> &dyn RawLock {
        &*self.raw
    }

    /// The order in which [`lock_all`](crate::lock_all()) takes locks.
    pub(crate) fn order(&self) -> (StoreId, Option<LockId>) {
        (self.place.id, self.id)
    }

    pub(crate) fn in_context(&self, error: Error, operation: Operation) -> Error {
        error.in_context(operation, &self.place.url, self.id)
    }

    /// What the guard of an acquisition is made of; `None` when the deadline passed. Only words come back here from what is not
    /// inlined: a guard that is built in memory and then moved costs more than taking the lock.
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match self.raw.acquire_at_once() {
            Some(token) => Ok(Some((token, None))),
            None => self.acquire_by(deadline),
        }
    }

    #[inline(never)]
    fn acquire_by(&self, deadline: Deadline) -> Result<Option<(u64, Option<Box<Death>>)>> {
        match self.raw.acquire(deadline) {
            Ok(Acquired::Held { token }) => Ok(Some((token, None))),
            Ok(Acquired::TimedOut) => Ok(None),
            Ok(Acquired::Recovered(recovery)) => Ok(Some(self.recovered(*recovery))),
            Err(error) => Err(self.not_acquired(error)),
        }
    }

    #[cold]
    fn recovered(&self, Recovery { token, death }: Recovery) -> (u64, Option<Box<Death>>) {
        tracing::warn!(lock = ?self, %death, "recovered a lock from a dead owner");
        (token, Some(Box::new(death)))
    }

    #[cold]
    fn not_acquired(&self, error: Error) -> Error {
        let error = self.in_context(error, Operation::Lock);
        tracing::debug!(lock = ?self, %error, "a lock could not be acquired");
        error
    }

    #[cold]
    fn timed_out(&self) -> Error {
        // A holder that cannot be read is one that is not known: the news is the time-out.
        let error = ErrorKind::TimedOut { holder: self.raw.holder().ok().flatten() }.into();
        let error = self.in_context(error, Operation::Lock);
        tracing::debug!(lock = ?self, %error, "gave up waiting for a lock");
        error
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Lock");
        f.field("store", &self.place.url);
        if let Some(id) = self.id {
            f.field("id", &id.get());
        }
        f.finish_non_exhaustive()
    }
}
