use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Error, ErrorKind, Generation, Holder, Proof, RawLock, Result};
use lock_table::thread as this_thread;
use lock_table::{Hot, Owner, Slot};
use nix::errno::Errno;

use crate::sys::{Semaphore, TIMED_WAIT};

/// The longest sleep. A unit of the semaphore can be lost with a process that is killed between two steps; a thread that slept
/// that long checks whether the lock is free.
const SLEEP: Duration = Duration::from_millis(200);

/// Looks at a semaphore that is being made this many times before it sleeps.
const YIELDS: u32 = 50;

/// A lock: a tenant, in a word of the line, and a `sem_t` to wait for it.
///
/// # The protocol
/// The tenant decides: a lock is acquired by exchanging no tenant for oneself, and released or broken by exchanging that one for
/// none. So it can be released once only, and of two threads that break it one succeeds. A unit of the semaphore is no right to
/// the lock, but a hint that it is worth trying: a release posts one; a thread that got one and finds a tenant drops it, since
/// that tenant will post another.
///
/// The first tenant makes the semaphore. Zeros are a free lock without one.
#[derive(Debug)]
pub(crate) struct PosixLock {
    slot: Slot,
}

impl PosixLock {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot }
    }

    /// Becomes the tenant, if there is none.
    #[inline]
    fn take(&self, me: Owner) -> Option<Acquired> {
        let hot = self.slot.hot();
        tenant_of(hot).compare_exchange(0, me.word(), AcqRel, Relaxed).ok()?;
        Semaphore::make_of(hot);
        let before = hot.owner();
        Some(if before.is_none() { self.slot.begin(me) } else { self.begin_after(before, me) })
    }

    /// After a break: the owner that is written down was dead, or the lock was taken away from it.
    #[cold]
    fn begin_after(&self, before: Owner, me: Owner) -> Acquired {
        let table = self.slot.table();
        let ended = table.is_dead_or_dying(before) || table.is_gone(before);
        if ended { self.slot.begin(me) } else { self.slot.begin_after_break(me) }
    }

    #[cold]
    fn acquire_slowly(&self, me: Owner, deadline: Deadline) -> Result<Acquired> {
        let hot = self.slot.hot();
        let mut yields = 0;
        loop {
            if tenant_of(hot).load(Relaxed) == 0
                && let Some(acquired) = self.take(me)
            {
                return Ok(acquired);
            }
            let remaining = deadline.remaining().unwrap_or(SLEEP);
            if remaining.is_zero() {
                return Ok(Acquired::TimedOut);
            }
            let sleep = remaining.min(SLEEP);
            match semaphore_of(hot)? {
                Some(semaphore) => {
                    semaphore.take_within(Some(sleep)).map_err(|e| refused(TIMED_WAIT, e))?;
                }
                None if yields < YIELDS => {
                    yields += 1;
                    thread::yield_now();
                }
                None => thread::sleep(sleep),
            }
        }
    }
}

/// The thread that has the lock, dead or alive; none when it is free.
pub(crate) fn tenant(hot: &Hot) -> Owner {
    Owner::from_word(tenant_of(hot).load(Acquire))
}

fn tenant_of(hot: &Hot) -> &AtomicU64 {
    &hot.prev
}

/// Takes the lock from its tenant, and says whether that was still the one.
pub(crate) fn evict(hot: &Hot, tenant: Owner) -> Result<bool> {
    if tenant_of(hot).compare_exchange(tenant.word(), 0, Release, Relaxed).is_err() {
        return Ok(false);
    }
    if let Some(semaphore) = semaphore_of(hot)? {
        semaphore.give().map_err(|e| refused("sem_post", e))?;
    }
    Ok(true)
}

#[inline]
fn semaphore_of(hot: &Hot) -> Result<Option<&Semaphore>> {
    Semaphore::of(hot).map_err(|errno| refused("sem_t", errno))
}

/// The errnos that are left: EINVAL, and EOVERFLOW of `sem_post`.
#[cold]
fn refused(call: &'static str, errno: Errno) -> Error {
    match errno {
        Errno::EINVAL | Errno::EOVERFLOW => {
            let reason = format!("there is no sound semaphore in the lock's line ({call}: {errno})");
            ErrorKind::Corrupt { reason }.into()
        }
        _ => Error::system(call, errno),
    }
}

impl RawLock for PosixLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let me = self.slot.me(this_thread::id())?;
        let hot = self.slot.hot();
        if tenant(hot) == me {
            return Err(ErrorKind::AlreadyHeld.into());
        }
        if let Some(semaphore) = semaphore_of(hot)?
            && semaphore.try_take().map_err(|e| refused("sem_trywait", e))?
            && let Some(acquired) = self.take(me)
        {
            return Ok(acquired);
        }
        self.acquire_slowly(me, deadline)
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let (hot, me) = (self.slot.hot(), self.slot.me(this_thread::id())?);
        // The owner is compared, too: the next one may be written down when the lock is broken in between.
        let ours = tenant(hot) == me && self.slot.end_unless_lost(me, proof.condition());
        if ours && evict(hot, me)? { Ok(()) } else { Err(ErrorKind::Lost.into()) }
    }

    fn mark_consistent(&self) -> Result<()> {
        if tenant(self.slot.hot()) != self.slot.me(this_thread::id())? {
            return Err(ErrorKind::Lost.into());
        }
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let tenant = tenant(self.slot.hot());
        Ok((!tenant.is_none()).then(|| self.slot.table().describe(tenant)))
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}
