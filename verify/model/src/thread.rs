//! The state of a simulated thread.

use crate::bounds::LOCKS;
use crate::exit::Exit;
use crate::note::{Leaving, Stage};
use crate::op::Op;
use crate::oracle::Entered;

/// An operation that no other thread can observe. It is undone if the thread dies before it.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) enum Private {
    /// A store to a word that only this thread accesses.
    Wrote { at: usize, before: u64 },
    /// A store that is still in the store buffer.
    Buffered,
    /// A change of the progress. The field is the previous value.
    Stage(Stage),
    /// The announcement of a release of this lock. See [`Thread::leaving`].
    Leaving(usize),
    /// The return of an acquisition.
    Entered { before: Entered, woken: bool },
}

#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// It is about to execute this operation.
    Ready(Op),
    /// It sleeps on this word.
    Asleep {
        at: usize,
        /// The class of sleepers, of which a call may wake only some.
        class: u32,
        /// Whether the sleep may reach its time limit.
        briefly: bool,
    },
    /// It has returned.
    Done,
    /// It was killed or has ended, and the kernel has not finished its exit.
    Exiting(Exit),
    /// It was killed, and the kernel has finished its exit.
    Gone,
    /// It has ended while its process lives on, and the kernel has finished its exit.
    Ended,
}

pub(crate) struct Thread {
    pub(crate) status: Status,
    /// The store buffer, oldest store first.
    pub(crate) buffer: Vec<(usize, u64)>,
    /// The private operations since the last step.
    pub(crate) private: Vec<Private>,
    /// The fingerprint of all values that the thread has received. They determine its next operations.
    pub(crate) seen: u128,
    pub(crate) stage: Stage,
    /// The index of the current act.
    pub(crate) act: usize,
    /// The locks that the thread releases with its next step. Until then it is inside.
    pub(crate) leaving: [Option<Leaving>; LOCKS],
    /// Whether the thread has a deadline that has not passed.
    pub(crate) armed: bool,
    /// Whether the thread was woken and has neither acquired the lock nor passed the wake-up on.
    pub(crate) woken: bool,
    /// Whether a sleep of the current wait has reached its time limit, so that the thread is starved.
    pub(crate) has_overslept: bool,
}

impl Thread {
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.status, Status::Ready(_) | Status::Asleep { .. })
    }
}
