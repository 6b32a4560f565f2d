//! The sizes of the simulated system, and the names of its threads.

/// Maximum number of threads.
pub(crate) const THREADS: usize = 3;
/// The index of the observer, which checks the final state.
pub(crate) const OBSERVER: usize = THREADS;
/// The index of a thread that died before the scenario begins.
pub(crate) const EARLIER: usize = THREADS + 1;

/// Number of locks.
pub(crate) const LOCKS: usize = 2;

/// Words in the lowest level of the bitmap.
pub(crate) const LEAVES: usize = 3;
/// Words in the level above it.
pub(crate) const SUMMARIES: usize = 1;
/// Number of ids that are free at the start.
pub(crate) const IDS: usize = 2;
/// The first free id: the last but one of the second leaf.
pub(crate) const FIRST: usize = 126;

/// Returns the name of a thread for histories.
pub(crate) fn name(thread: usize) -> String {
    ["A", "B", "C", "the observer", "an earlier owner"][thread].to_owned()
}
