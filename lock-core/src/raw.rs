use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use crate::{Deadline, Death, Error, Generation, HeldBy, Holder, Result};

/// The part of a lock that a backend implements. Programs use a [`Lock`](crate::Lock).
///
/// # Contract
/// Of all threads in all processes, at most one holds the lock: from an `acquire` that returns [`Acquired::Held`] or
/// [`Acquired::Recovered`] to the `release` that follows. [`Guard`](crate::Guard) ensures that the same thread of the same process
/// calls both. [`SendGuard`](crate::SendGuard) ensures that the same process calls [`acquire_for_process`](Self::acquire_for_process)
/// and the `release` that follows.
pub trait RawLock: Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug {
    /// Acquires the lock on the fast path, and returns the fencing token.
    ///
    /// The fast path is for a lock that is free and whose previous owner did not die. [`Lock`](crate::Lock) calls this before
    /// [`acquire`](Self::acquire); the result fits into registers. `None` means only that the caller must call `acquire`. The default
    /// is for backends without a fast path.
    #[inline]
    fn try_acquire_fast(&self) -> Option<u64> {
        None
    }

    /// Acquires the lock on the fast path, as [`try_acquire_fast`](Self::try_acquire_fast) does, or finds that it is held.
    ///
    /// [`Lock::try_lock`](crate::Lock::try_lock) calls this before [`acquire`](Self::acquire). The default never finds that the lock
    /// is held. A backend that overrides it makes an attempt on a held lock cheap.
    #[inline]
    fn try_acquire_now(&self) -> FastAttempt {
        self.try_acquire_fast().map_or(FastAttempt::Undecided, |token| FastAttempt::Held { token })
    }

    /// Acquires the lock, and waits until the deadline. A signal (EINTR) does not end the wait.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when the calling thread already holds the lock, which without a wait
    /// ([`Deadline::Now`]) is a busy lock for the caller of [`Lock::try_lock`](crate::Lock::try_lock);
    /// [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    /// An error means that this call has not acquired the lock.
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;

    /// Acquires the lock for the process, and waits as [`acquire`](Self::acquire) does.
    ///
    /// Any thread of the process may release the lock. The end of the calling thread does not release it, and the death of the process
    /// has the effect that it has on a lock of a thread. Calls for the same process exclude each other.
    /// [`Lock::lock_send`](crate::Lock::lock_send) calls this. The default refuses, which is right for a backend that does not claim
    /// [`SendGuards::Supported`](crate::SendGuards::Supported).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by the default; otherwise as [`acquire`](Self::acquire).
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) means that the calling *thread* holds the lock: when the process holds
    /// it, the call waits.
    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        let _ = deadline;
        Err(Error::unsupported("its locks belong to threads; use a guard that stays in its thread"))
    }

    /// Acquires the lock for this kind of owner, and waits in slices.
    ///
    /// `next` returns the end of the next slice, or `None` if the wait is over, and then the result is [`Acquired::TimedOut`]. It is called
    /// at least once, before the first attempt. A backend whose waiters queue overrides this, so that a waiter keeps its place between
    /// two slices. [`Lock::lock_with`](crate::Lock::lock_with) calls it.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire) or [`acquire_for_process`](Self::acquire_for_process).
    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        while let Some(deadline) = next() {
            let acquired = match owner {
                OwnerKind::Thread => self.acquire(deadline)?,
                OwnerKind::Process => self.acquire_for_process(deadline)?,
            };
            if acquired != Acquired::TimedOut {
                return Ok(acquired);
            }
        }
        Ok(Acquired::TimedOut)
    }

    /// Releases the lock. [`Proof::owner`] is the kind of owner, the thread or the process.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the caller no longer holds the lock, which is then unchanged;
    /// [`ErrorKind::System`](crate::ErrorKind::System) when a system call fails.
    fn release(&self, proof: Proof) -> Result<()>;

    /// Checks that the caller still holds the lock, without a change of the lock.
    ///
    /// `owner` is the kind of owner, the thread or the process, and `token` is as in [`Proof::token`].
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the caller no longer holds the lock;
    /// [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    fn check(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        let _ = (owner, token);
        Err(Error::unsupported("it does not detect that a lock was lost"))
    }

    /// Discards the report of a death, so that the next owner does not get it.
    ///
    /// Called by the owner that got the report. The arguments are as in [`check`](Self::check).
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the caller no longer holds the lock.
    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        let _ = (owner, token);
        Ok(())
    }

    /// Returns how long the caller surely holds the lock from now on, or `None` if no time limits it.
    ///
    /// The limit is that of a session with a server, which the server ends when it gets no sign of life. A thread renews the session, so
    /// that the result increases again. The arguments are as in [`check`](Self::check). The call asks no server.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the caller no longer surely holds the lock.
    fn valid_for(&self, owner: OwnerKind, token: Option<u64>) -> Result<Option<Duration>> {
        let _ = (owner, token);
        Ok(None)
    }

    /// Registers a function that another thread calls once when the lock is lost before its release.
    ///
    /// The arguments are as in [`check`](Self::check). The call must happen before another owner can acquire the lock, as far as this
    /// process runs. The function is dropped at the release.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the lock is already lost; the function is then not called.
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) by the default, which is right for a backend whose locks are not lost
    /// by the end of a session.
    fn on_lost(&self, owner: OwnerKind, token: Option<u64>, call: Box<dyn FnOnce() + Send>) -> Result<()> {
        let _ = (owner, token, call);
        Err(Error::unsupported("its locks do not depend on a session with a server"))
    }

    /// Returns the holder, or `None` when the lock is free or the backend does not record holders.
    ///
    /// It does not change the lock.
    ///
    /// # Errors
    /// [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    fn holder(&self) -> Result<Option<Holder>> {
        Ok(None)
    }

    /// Returns the holder after a wait that timed out, for the message.
    ///
    /// Unlike [`holder`](Self::holder), a backend can return a dead holder, or the reason why it cannot name one.
    fn held_by(&self) -> HeldBy {
        match self.holder() {
            Ok(Some(holder)) => HeldBy::Holder(holder),
            Ok(None) => HeldBy::unknown("none is recorded"),
            Err(error) => HeldBy::unknown(error.to_string()),
        }
    }

    /// Returns the number of waiting threads, or `None` when the backend does not count them.
    fn waiters(&self) -> Option<u32> {
        None
    }

    /// Returns the current generation of the id, or `None` when the backend does not count allocations.
    fn generation(&self) -> Option<Generation> {
        None
    }

    /// Returns the generation of the id when this value was created.
    ///
    /// The default returns the current one. A backend that asks a server for it returns the one that it already knows.
    fn initial_generation(&self) -> Option<Generation> {
        self.generation()
    }
}

/// The result of [`RawLock::try_acquire_now`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FastAttempt {
    /// The caller holds the lock.
    Held {
        /// The fencing token, as in [`Acquired::Held`].
        token: u64,
    },
    /// Another owner holds the lock, or the caller already does, so that [`RawLock::acquire`] with [`Deadline::Now`] would not acquire it.
    Busy,
    /// The caller must call [`RawLock::acquire`].
    Undecided,
}

/// The result of [`RawLock::acquire`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Acquired {
    /// The caller holds the lock.
    Held {
        /// The fencing token: greater than that of every earlier acquisition of this lock. 0 on a backend without tokens.
        token: u64,
    },
    /// The caller holds the lock, and an earlier owner died while it held the lock.
    Recovered(Box<Recovery>),
    /// The deadline passed. With [`Deadline::Now`], another thread holds the lock.
    TimedOut,
}

/// The acquisition of a lock with the report of a death.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recovery {
    /// The fencing token, as in [`Acquired::Held`].
    pub token: u64,
    /// The report.
    pub death: Death,
}

/// The kind of owner of a held lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OwnerKind {
    /// The thread that acquired the lock, with a [`Guard`](crate::Guard).
    Thread,
    /// The process, with a [`SendGuard`](crate::SendGuard). Any of its threads may release the lock.
    Process,
}

/// Proof that a guard calls [`RawLock::release`]. Only this crate can create one.
///
/// The proof makes `release` a safe function, so that a backend can forbid unsafe code. It does not identify the lock: the backend
/// checks that the caller is the recorded owner.
// One word, which is passed in one register: the condition in the lowest two bits, [`PROCESS`], and the token above it. No lock is
// acquired 2⁶¹ times.
#[derive(Debug)]
pub struct Proof(u64);

/// The condition of the protected data at a release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// The data is consistent.
    Consistent = 0,
    /// An earlier owner died, and no owner has called [`Guard::mark_consistent`](crate::Guard::mark_consistent) since.
    Inconsistent = 1,
    /// The owner panicked, and the data may be inconsistent.
    Panicked = 2,
}

/// The bit of a [`Proof`] of a process.
const PROCESS: u64 = 1 << 2;
const TOKEN_SHIFT: u32 = 3;

impl Proof {
    /// Creates the proof of a [`Guard`](crate::Guard).
    #[inline]
    pub(crate) const fn of_thread(condition: Condition) -> Self {
        Self(condition as u64)
    }

    /// Creates the proof of a [`SendGuard`](crate::SendGuard) with this token.
    #[inline]
    pub(crate) const fn of_process(condition: Condition, token: u64) -> Self {
        Self(condition as u64 | PROCESS | token << TOKEN_SHIFT)
    }

    /// Returns the kind of owner that releases the lock.
    #[inline]
    pub const fn owner(&self) -> OwnerKind {
        if self.0 & PROCESS == 0 { OwnerKind::Thread } else { OwnerKind::Process }
    }

    /// Returns the token of the acquisition if the owner is the process, and `None` if it is a thread.
    ///
    /// The token is that of [`Acquired::Held`] or [`Recovery`]. All acquisitions for a process have the same owner. So a backend whose
    /// locks can be broken compares the token with the latest one: if they differ, the process lost the lock and has acquired it again.
    #[inline]
    pub const fn token(&self) -> Option<u64> {
        match self.owner() {
            OwnerKind::Process => Some(self.0 >> TOKEN_SHIFT),
            OwnerKind::Thread => None,
        }
    }

    /// Returns the condition of the protected data.
    ///
    /// A backend that claims [`DeathReports::UntilConsistent`](crate::DeathReports::UntilConsistent) reports each condition except
    /// [`Condition::Consistent`] to the next owner.
    #[inline]
    pub const fn condition(&self) -> Condition {
        match self.0 & (PROCESS - 1) {
            0 => Condition::Consistent,
            1 => Condition::Inconsistent,
            _ => Condition::Panicked,
        }
    }
}
