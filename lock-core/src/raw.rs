use std::fmt;

use crate::{Deadline, Death, Generation, Holder, Result};

/// The plug-in side of a lock: acquire by a deadline, release, describe. Users hold a [`Lock`](crate::Lock).
///
/// # Contract
/// At most one thread, of all processes, is between an `acquire` that returned `Some` and the `release` that follows it.
/// Both are called by the same thread, in the same process: the user side makes sure of that.
pub trait RawLock: Send + Sync + fmt::Debug {
    /// Takes the lock; `None` when the deadline passed first (with [`Deadline::Now`]: when it is busy). EINTR never shows.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) when the calling thread holds the lock; what the system says.
    /// After an error the lock is not held.
    fn acquire(&self, deadline: Deadline) -> Result<Option<Acquired>>;

    /// Gives the lock up.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`](crate::ErrorKind::NotHeld) when it had been taken away; what the system says.
    fn release(&self, proof: Proof) -> Result<()>;

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

/// The result of a successful [`RawLock::acquire`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acquired {
    /// A number greater than that of every earlier acquisition of this lock; 0 where the backend has none.
    pub token: u64,
    /// Set when the previous owner died holding the lock.
    pub death: Option<Box<Death>>,
}

/// Proof that the caller of [`RawLock::release`] is a guard: only this crate can make one.
///
/// That is why `release` need not be an `unsafe fn`, and a backend without system calls of its own can forbid unsafe code.
#[derive(Debug)]
pub struct Proof(());

impl Proof {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}
