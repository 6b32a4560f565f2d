use std::fmt;

use crate::{Deadline, Death, Generation, Holder, Result};

/// The plug-in side of a lock: acquire by a deadline, release, describe. Users hold a [`Lock`](crate::Lock).
///
/// # Contract
/// At most one thread, of all processes, is between an `acquire` that gave it the lock and the `release` that follows it.
/// Both are called by the same thread, in the same process: the user side makes sure of that.
pub trait RawLock: Send + Sync + fmt::Debug {
    /// Takes the lock if that is quick and there is nothing to tell: it is free, and nobody died holding it. Returns the fencing token.
    ///
    /// A short cut that the user side tries before [`acquire`](Self::acquire), and that returns in registers. `None` says nothing
    /// about the lock, but that `acquire` is to be asked; a backend without a quick way leaves it at that.
    #[inline]
    fn acquire_at_once(&self) -> Option<u64> {
        None
    }

    /// Takes the lock, if that succeeds by the deadline. EINTR never shows.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when the calling thread holds the lock; what the system says.
    /// After an error the lock is not held.
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;

    /// Gives the lock up.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the lock is not the caller's any more, and then nothing is changed; what the
    /// system says.
    fn release(&self, proof: Proof) -> Result<()>;

    /// Forgets the death that the calling owner was told of: the next owner is told of none.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](crate::ErrorKind::Lost) when the lock is not the caller's any more.
    fn mark_consistent(&self) -> Result<()> {
        Ok(())
    }

    /// Who holds the lock, without touching it; `None` when nobody does, or where it is not known.
    ///
    /// # Errors
    /// What the system says.
    fn holder(&self) -> Result<Option<Holder>> {
        Ok(None)
    }

    /// How many threads wait, where that is known.
    fn waiters(&self) -> Option<u32> {
        None
    }

    /// Which allocation of the id is the present one, where that is counted.
    fn generation(&self) -> Option<Generation> {
        None
    }
}

/// What came of a [`RawLock::acquire`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// The lock is the caller's. The token is a number greater than that of every earlier acquisition of this lock; 0 where the backend
    /// has none.
    Held {
        /// The fencing token.
        token: u64,
    },
    /// The lock is the caller's, and the previous owner died holding it.
    Recovered(Box<Recovery>),
    /// The deadline passed first; with [`Deadline::Now`], the lock is busy.
    TimedOut,
}

/// The acquisition of a lock whose previous owner died holding it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// The fencing token, as in [`Acquired::Held`].
    pub token: u64,
    /// The news.
    pub death: Death,
}

/// Proof that the caller of [`RawLock::release`] is a guard: only this crate can make one.
///
/// That is why `release` need not be an `unsafe fn`, and a backend without system calls of its own can forbid unsafe code. A proof does
/// not say of which lock: a backend compares the owner that it has recorded with the caller.
#[derive(Debug)]
pub struct Proof {
    condition: Condition,
}

/// The condition in which an owner leaves what the lock protects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// In order.
    Consistent,
    /// As an owner that died left it: nobody has called [`Guard::mark_consistent`](crate::Guard::mark_consistent) since.
    Inconsistent,
    /// Possibly half changed, because the owner panicked.
    Panicked,
}

impl Proof {
    #[inline]
    pub(crate) const fn new(condition: Condition) -> Self {
        Self { condition }
    }

    /// The condition of what the lock protects. A backend that claims
    /// [`DeathReports::UntilConsistent`](crate::DeathReports::UntilConsistent) reports any but the first to the next owner.
    #[inline]
    pub const fn condition(&self) -> Condition {
        self.condition
    }
}
