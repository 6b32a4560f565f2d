use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use lock_core::{Death, Generation, Holder, LockId, Result};

use crate::{Timing, Wait};

/// The locks of a server, as a backend implements them.
///
/// # Errors
/// The methods return [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) only when the session has ended at the server, or, where they say so,
/// when it does not hold the lock. A request without an answer, which may have had its effect or not, is
/// [`ErrorKind::Unreachable`](lock_core::ErrorKind::Unreachable).
pub trait Engine: Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug + 'static {
    /// A session of a process.
    type Session: Session;
    /// What a release shows to the server, so that it does not release a later acquisition.
    type Grant: Clone + Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug + 'static;

    /// Returns the times of a session.
    fn timing(&self) -> Timing;

    /// Starts a session.
    ///
    /// # Errors
    /// Those of a request.
    fn start(&self) -> Result<Self::Session>;

    /// Acquires a lock in the session, and waits while [`Wait::goes_on`]. Returns `None` when the wait is over.
    ///
    /// `owner` is recorded at the server. Acquisitions of one process exclude each other as those of different ones do. Waiting threads
    /// acquire the lock in the order of their waits, and an attempt does not overtake them. After an error
    /// the session does not hold the lock and does not wait for it, or it has ended.
    ///
    /// # Errors
    /// Those of a request.
    fn acquire(
        &self,
        session: &Self::Session,
        id: LockId,
        owner: &Holder,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Granted<Self::Grant>>>;

    /// Releases a lock. The next owner gets the report of `end`.
    ///
    /// It is called again after an error that leaves open whether the lock was released.
    ///
    /// # Errors
    /// Those of a request; [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when this acquisition no longer holds the lock.
    fn release(&self, session: &Self::Session, id: LockId, grant: &Self::Grant, end: &End) -> Result<()>;

    /// Removes the report of a death of an earlier owner, so that the next owner does not get it.
    ///
    /// # Errors
    /// As [`Engine::release`].
    fn mark_consistent(&self, session: &Self::Session, id: LockId, grant: &Self::Grant) -> Result<()>;

    /// Asks the server whether this acquisition still holds the lock.
    ///
    /// # Errors
    /// As [`Engine::release`].
    fn confirm(&self, session: &Self::Session, id: LockId, grant: &Self::Grant) -> Result<()>;

    /// Returns the holder of a lock, or `None` if it is free.
    ///
    /// # Errors
    /// Those of a request.
    fn holder(&self, id: LockId) -> Result<Option<Holder>>;

    /// Returns the number of threads that wait for a lock.
    ///
    /// # Errors
    /// Those of a request.
    fn waiters(&self, id: LockId) -> Result<u32>;

    /// Returns the generation of an id.
    ///
    /// # Errors
    /// Those of a request.
    fn generation(&self, id: LockId) -> Result<Option<Generation>>;
}

/// A session of a process with a server.
pub trait Session: Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug + 'static {
    /// Gives a sign of life, and waits for the confirmation for about `time`.
    ///
    /// After a confirmation the session lasts for its time to live, from the call on.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when the session has ended. After any other error the call is repeated soon.
    fn renew(&self, time: Duration) -> Result<()>;

    /// Ends the session, as far as that takes no long time. The locks that it holds become free.
    fn end(&self);
}

/// An acquisition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Granted<G> {
    /// The fencing token: greater than that of every earlier acquisition of this lock, and not 0.
    pub token: u64,
    /// The report of the death of an earlier owner.
    pub death: Option<Death>,
    /// What the release shows to the server.
    pub grant: G,
}

/// How a critical section ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// The protected data is consistent, and the next owner gets no report.
    Consistent,
    /// The next owner gets this report.
    Report(Death),
}
