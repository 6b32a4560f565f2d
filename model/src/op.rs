//! The operations of simulated threads.

use crate::note::{Note, Stage};

/// What a thread asks for. Each is one step, but for those that nobody else can notice.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Load(usize),
    Store(usize, u64),
    Change(usize, Change),
    Fence,
    /// Sleeps while the word has this value.
    Wait {
        at: usize,
        value: u64,
        briefly: bool,
    },
    Wake(usize),
    /// `membarrier`: every thread's stores become visible.
    Barrier,
    /// Whether the deadline has passed.
    Clock,
    /// Whether this thread is proved to have ended, or the whole process of it.
    Gone {
        thread: usize,
        whole: bool,
    },
    /// The thread ends, and its process lives on.
    End,
    /// What the scenario tells of what it was told.
    Note(Note),
    /// What the thread is doing, should it die.
    Stage(Stage),
    /// The thread is at the beginning of an act, and remembers nothing.
    Act(usize),
    /// It is at the beginning of a loop, and remembers this of what came before in the act.
    Loop(u64),
}

/// A read and a write in one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Set(u64),
    Or(u64),
    And(u64),
    Exchange(u64, u64),
}

impl Change {
    pub(crate) fn apply(self, before: u64) -> u64 {
        match self {
            Self::Set(value) => value,
            Self::Or(bits) => before | bits,
            Self::And(bits) => before & bits,
            Self::Exchange(old, new) => {
                if before == old {
                    new
                } else {
                    before
                }
            }
        }
    }
}
