//! The stand-in for the calling thread.

use super::head::{Head, is_empty};
use super::lists::Lists;
use crate::op::Op;
use crate::{state, step};

/// The calling thread.
pub(crate) struct ThisThread {
    pub(crate) id: u32,
    /// Whether the process is registered for barriers.
    pub(crate) barriers: bool,
    list: &'static Head,
    identity_list: &'static Head,
    /// The number of locks that the robust list has room for: 0, 1, or `None` for no limit.
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

    /// Returns whether the robust list has no room for another lock.
    pub(crate) fn is_full(&self) -> bool {
        match self.room {
            Some(0) => true,
            Some(_) => !is_empty(self.list),
            None => false,
        }
    }
}

/// Executes a memory barrier on every thread of a registered process. Returns false if the calling thread's process is not registered.
pub(crate) fn barrier() -> bool {
    ThisThread::get().barriers && step::call(Op::Barrier) == 0
}
