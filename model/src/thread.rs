//! A simulated thread, as the state knows it.

use crate::bounds::LOCKS;
use crate::exit::Exit;
use crate::note::{Leaving, Stage};
use crate::op::Op;
use crate::oracle::Entered;

/// What a thread did that nobody else could notice: it is taken back when the thread dies before it.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) enum Private {
    /// It wrote to a word that only it looks at.
    Wrote {
        at: usize,
        before: u64,
    },
    /// Its last store is still in its buffer.
    Buffered,
    Stage(Stage),
    /// It is about to leave this lock: [`Thread::leaving`].
    Left(usize),
    /// It was told that it has a lock.
    Entered {
        before: Entered,
        woken: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// It is about to do that.
    Ready(Op),
    /// It sleeps at that word.
    Asleep {
        at: usize,
        /// It may not be woken, and does not rely on that.
        briefly: bool,
    },
    /// It returned.
    Done,
    /// It was killed or has ended, and the kernel has yet to do that for it.
    Exiting(Exit),
    /// It was killed, and the kernel has done everything for it.
    Gone,
    /// The same after its own end, which is not that of its process.
    Ended,
}

pub(crate) struct Thread {
    pub(crate) status: Status,
    /// Stores that nobody else sees, the oldest first.
    pub(crate) buffer: Vec<(usize, u64)>,
    /// What it did since its last step.
    pub(crate) private: Vec<Private>,
    /// The fingerprint of all it was told: what it will do follows from that.
    pub(crate) seen: u128,
    pub(crate) stage: Stage,
    /// The number of its act.
    pub(crate) act: usize,
    /// The locks that it leaves with its next step, and how: until then it is inside.
    pub(crate) leaving: [Option<Leaving>; LOCKS],
    /// It has a deadline, which has not passed.
    pub(crate) armed: bool,
    /// It has been woken, and has neither the lock nor passed that on.
    pub(crate) woken: bool,
}

impl Thread {
    pub(crate) fn lives(&self) -> bool {
        matches!(self.status, Status::Ready(_) | Status::Asleep { .. })
    }
}
