//! The kernel's work at the exit of a thread.

use std::collections::VecDeque;

/// The remaining steps of `exit_robust_list` (kernel/futex/core.c) for a dead thread.
#[derive(Clone, Default, Hash, Debug)]
pub(crate) struct Exit {
    pub(crate) steps: VecDeque<ExitStep>,
    /// Whether the whole process was killed.
    pub(crate) killed: bool,
}

/// One step of the kernel for a dead thread.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) enum ExitStep {
    /// `handle_futex_death` of this word.
    Handle {
        at: usize,
        pending: bool,
    },
    Wake(usize),
    /// Frees the thread id and, if the whole process dies, closes its files. From then on, the end can be proven.
    Vanish,
}
