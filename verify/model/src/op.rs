//! The operations of simulated threads.

use crate::note::{Note, Stage};

/// An operation of a simulated thread. It is one step, unless no other thread can observe it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Load(usize),
    Store(usize, u64),
    Change(usize, Change),
    Fence,
    /// Sleeps if the word has this value.
    Wait {
        at: usize,
        value: u64,
        /// The [class](Op::Wake) of the sleeper.
        class: u32,
        briefly: bool,
    },
    /// Wakes one thread that sleeps on the word with a bit of this class. Returns whether there is one.
    Wake {
        at: usize,
        class: u32,
    },
    /// `membarrier`: every thread's stores become visible.
    Barrier,
    /// Checks whether the deadline has passed.
    Clock,
    /// Checks whether the end of this thread, or of its whole process, is proven.
    Gone {
        thread: usize,
        whole: bool,
    },
    /// Ends the thread, but not its process.
    End,
    /// Reports to the oracle.
    Note(Note),
    /// Sets the thread's progress.
    Stage(Stage),
    /// Starts an act, which does not depend on earlier results.
    Act(usize),
    /// Starts a loop iteration, which depends on earlier results of the act only by this value.
    Loop(u64),
}

/// An atomic read-modify-write operation.
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
