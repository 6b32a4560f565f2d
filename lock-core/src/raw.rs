use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::{Deadline, Death, Generation, HeldBy, Holder, Result};

/// The part of a lock that a backend implements. Programs use a [`Lock`](crate::Lock).
///
/// # Contract
/// Of all threads in all processes, at most one holds the lock: from an `acquire` that returns [`Acquired::Held`] or
/// [`Acquired::Recovered`] to the `release` that follows. [`Guard`](crate::Guard) ensures that the same thread of the same process
/// calls both.
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

    /// Acquires the lock, and waits until the deadline. A signal (EINTR) does not end the wait.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when the calling thread already holds the lock, which without a wait
    /// ([`Deadline::Now`]) is a busy lock for the caller of [`Lock::try_lock`](crate::Lock::try_lock);
    /// [`ErrorKind::System`](crate::ErrorKind::System) or [`ErrorKind::Limit`](crate::ErrorKind::Limit) when a system call fails.
    /// An error means that this call has not acquired the lock.
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;

    /// Releases the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the caller no longer holds the lock, which is then unchanged;
    /// [`ErrorKind::System`](crate::ErrorKind::System) when a system call fails.
    fn release(&self, proof: Proof) -> Result<()>;

    /// Discards the report of a death, so that the next owner does not get it.
    ///
    /// Called by the owner that got the report.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the caller no longer holds the lock.
    fn mark_consistent(&self) -> Result<()> {
        Ok(())
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

/// Proof that a guard calls [`RawLock::release`]. Only this crate can create one.
///
/// The proof makes `release` a safe function, so that a backend can forbid unsafe code. It does not identify the lock: the backend
/// checks that the caller is the recorded owner.
#[derive(Debug)]
pub struct Proof {
    condition: Condition,
}

/// The condition of the protected data at a release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// The data is consistent.
    Consistent,
    /// An earlier owner died, and no owner has called [`Guard::mark_consistent`](crate::Guard::mark_consistent) since.
    Inconsistent,
    /// The owner panicked, and the data may be inconsistent.
    Panicked,
}

impl Proof {
    #[inline]
    pub(crate) const fn new(condition: Condition) -> Self {
        Self { condition }
    }

    /// Returns the condition of the protected data.
    ///
    /// A backend that claims [`DeathReports::UntilConsistent`](crate::DeathReports::UntilConsistent) reports each condition except
    /// [`Condition::Consistent`] to the next owner.
    #[inline]
    pub const fn condition(&self) -> Condition {
        self.condition
    }
}
