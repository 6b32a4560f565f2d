//! Memory orders that are too weak, to check that Miri finds them.

use crate::copy::Change;

const ROBUST: &str = "lock-shm/src/robust.rs";
const WAITERS: &str = "lock-shm/src/wait.rs";

const fn order(name: &'static str, file: &'static str, find: &'static str, replace: &'static str) -> Change<'static> {
    Change { name, file, find, replace }
}

/// All planted orders.
pub(crate) const PLANTED: &[Change<'static>] = &[
    order(
        "a free lock is acquired without Acquire",
        ROBUST,
        "line.word.compare_exchange(0, tid, Acquire, Relaxed)",
        "line.word.compare_exchange(0, tid, Relaxed, Relaxed)",
    ),
    order(
        "a lock that was waited for is acquired without Acquire",
        ROBUST,
        "line.word.compare_exchange(old, me.number | waiting, Acquire, Relaxed)",
        "line.word.compare_exchange(old, me.number | waiting, Relaxed, Relaxed)",
    ),
    order(
        "a lock is released by a store without Release",
        WAITERS,
        "line.word.store(0, Ordering::Release);",
        "line.word.store(0, Relaxed);",
    ),
    order(
        "a lock is released by an exchange without Release",
        WAITERS,
        "line.word.swap(free, Ordering::Release)",
        "line.word.swap(free, Relaxed)",
    ),
];
