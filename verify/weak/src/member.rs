//! The kinds of threads, and the identity of the calling thread.

use std::cell::Cell;

/// The kind of a thread. Each thread is alone in its process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In the PID namespace of the store's creator.
    AtHome,
    /// In the PID namespace of the store's creator, without `membarrier`.
    WithoutBarriers,
    /// In another PID namespace, with the same thread id as a thread at home.
    Foreign,
}

/// A thread of a check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The index of the thread in the table.
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    pub(crate) tid: u32,
}

thread_local! {
    static ME: Cell<Option<Member>> = const { Cell::new(None) };
}

impl Member {
    /// Returns the thread with this index among threads of these kinds.
    pub(crate) fn of(kinds: &[Kind], number: usize) -> Self {
        let is_foreign = |kind: &Kind| *kind == Kind::Foreign;
        let before = kinds[..number].iter().filter(|kind| is_foreign(kind) == is_foreign(&kinds[number])).count();
        Self { number, kind: kinds[number], tid: 11 + before as u32 }
    }

    /// Returns the calling thread.
    pub(crate) fn current() -> Self {
        ME.get().expect("the thread has begun")
    }

    /// Makes this the calling thread.
    pub(crate) fn enter(self) {
        ME.set(Some(self));
    }

    /// Returns whether the thread's process is registered for barriers.
    pub(crate) fn has_barriers(self) -> bool {
        self.kind != Kind::WithoutBarriers
    }

    pub(crate) fn is_at_home(self) -> bool {
        self.kind != Kind::Foreign
    }
}
