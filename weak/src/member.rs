//! The kinds of threads, and which of them the calling thread is.

use std::cell::Cell;

/// A thread, alone in its process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In the namespace of the store's creator.
    AtHome,
    /// The same, in a system without barriers.
    WithoutBarriers,
    /// In another PID namespace, with a thread id that one at home has.
    Foreign,
}

/// A thread of a check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// Its number in the table.
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    pub(crate) tid: u32,
}

thread_local! {
    static ME: Cell<Option<Member>> = const { Cell::new(None) };
}

impl Member {
    /// A thread, given the kinds of all.
    pub(crate) fn of(kinds: &[Kind], number: usize) -> Self {
        let is_foreign = |kind: &Kind| *kind == Kind::Foreign;
        let before = kinds[..number].iter().filter(|kind| is_foreign(kind) == is_foreign(&kinds[number])).count();
        Self { number, kind: kinds[number], tid: 11 + before as u32 }
    }

    /// The calling thread.
    pub(crate) fn current() -> Self {
        ME.get().expect("the thread has begun")
    }

    /// Makes the calling thread this one.
    pub(crate) fn enter(self) {
        ME.set(Some(self));
    }

    /// Whether its process takes part in barriers.
    pub(crate) fn has_barriers(self) -> bool {
        self.kind != Kind::WithoutBarriers
    }

    pub(crate) fn is_at_home(self) -> bool {
        self.kind != Kind::Foreign
    }
}
