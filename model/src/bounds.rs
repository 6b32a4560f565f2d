//! How many things there are, and what threads are called.

/// At most so many threads.
pub(crate) const THREADS: usize = 3;
/// The number of the observer, which checks the final state.
pub(crate) const OBSERVER: usize = THREADS;
/// The number of a thread that died before a scenario begins.
pub(crate) const EARLIER: usize = THREADS + 1;

/// How many locks there are.
pub(crate) const LOCKS: usize = 2;

/// Words in the lowest level of the bitmap.
pub(crate) const LEAVES: usize = 3;
/// Words in the level above it.
pub(crate) const SUMMARIES: usize = 1;
/// How many ids are free at the start.
pub(crate) const IDS: usize = 2;
/// The first of them: the last but one of the second leaf.
pub(crate) const FIRST: usize = 126;

/// The name of a thread in a history.
pub(crate) fn name(thread: usize) -> String {
    ["A", "B", "C", "the observer", "an earlier owner"][thread].to_owned()
}
