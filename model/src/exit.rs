//! The work that the kernel does for a dead thread.

use std::collections::VecDeque;

/// The remaining work for a dead thread: `exit_robust_list` of kernel/futex/core.c.
#[derive(Clone, Default, Hash, Debug)]
pub(crate) struct Exit {
    pub(crate) steps: VecDeque<ExitStep>,
    /// With its process.
    pub(crate) killed: bool,
}

/// One thing that the kernel does for a dead thread.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) enum ExitStep {
    /// `handle_futex_death` of this word.
    Handle {
        at: usize,
        pending: bool,
    },
    Wake(usize),
    /// Its id is free, and its files are closed if the whole process dies: its end can be proved.
    Vanish,
}
