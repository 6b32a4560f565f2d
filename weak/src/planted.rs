//! Orders that are too weak, to see that they are found. Shared by the build script and the library.

/// An order that is too weak.
#[derive(Debug)]
pub struct Planted {
    /// A short name, for the environment variable that selects it.
    pub name: &'static str,
    /// The source.
    #[allow(dead_code, reason = "only the build script needs it, here and below")]
    pub(crate) file: &'static str,
    /// A text that is in the source once.
    #[allow(dead_code)]
    pub(crate) right: &'static str,
    /// The text with the weaker order.
    #[allow(dead_code)]
    pub(crate) wrong: &'static str,
}

const fn order(name: &'static str, file: &'static str, right: &'static str, wrong: &'static str) -> Planted {
    Planted { name, file, right, wrong }
}

/// All of them.
pub const PLANTED: &[Planted] = &[
    order(
        "a free lock is acquired without Acquire",
        "robust.rs",
        "hot.word.compare_exchange(0, tid, Acquire, Relaxed)",
        "hot.word.compare_exchange(0, tid, Relaxed, Relaxed)",
    ),
    order(
        "a lock that was waited for is acquired without Acquire",
        "robust.rs",
        "hot.word.compare_exchange(old, me.number | waiting, Acquire, Relaxed)",
        "hot.word.compare_exchange(old, me.number | waiting, Relaxed, Relaxed)",
    ),
    order(
        "a lock is released by a store without Release",
        "waiters.rs",
        "hot.word.store(0, Ordering::Release);",
        "hot.word.store(0, Relaxed);",
    ),
    order(
        "a lock is released by an exchange without Release",
        "waiters.rs",
        "hot.word.swap(free, Ordering::Release)",
        "hot.word.swap(free, Relaxed)",
    ),
];
