//! The calling thread.

use super::head::{Head, is_empty};
use super::lists::Lists;
use crate::op::Op;
use crate::{state, step};

/// The calling thread.
pub(crate) struct ThisThread {
    pub(crate) id: u32,
    /// Whether its process takes part in barriers.
    pub(crate) barriers: bool,
    list: &'static Head,
    identity_list: &'static Head,
    /// How many locks there is room for in its list, if that is ever an obstacle: one or none.
    room: Option<usize>,
}

impl ThisThread {
    pub(crate) fn get() -> Self {
        let lists = Lists::current();
        state::with(|state| {
            let (scenario, number) = (&state.machine.scenario, state.current);
            Self {
                id: scenario.tid(number),
                barriers: scenario.has_barriers(number),
                list: &lists.known[number],
                identity_list: &lists.identities[number],
                room: scenario.room(number),
            }
        })
    }

    pub(crate) fn try_fast() -> Option<Self> {
        Some(Self::get()).filter(|thread| thread.barriers && !thread.is_full())
    }

    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        Self::try_fast()
    }

    pub(crate) fn list(&self) -> Option<&Head> {
        Some(self.list)
    }

    pub(crate) fn identity_list(&self) -> &Head {
        self.identity_list
    }

    /// Whether there is no room in its list for another lock.
    pub(crate) fn is_full(&self) -> bool {
        match self.room {
            Some(0) => true,
            Some(_) => !is_empty(self.list),
            None => false,
        }
    }
}

/// A memory barrier of every thread that takes part in barriers. False where the calling thread's process takes no part.
pub(crate) fn barrier() -> bool {
    ThisThread::get().barriers && step::call(Op::Barrier) == 0
}
