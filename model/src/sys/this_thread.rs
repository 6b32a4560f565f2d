//! The calling thread.

use super::head::{Head, is_empty};
use crate::op::Op;
use crate::scene::Scene;
use crate::{step, world};

/// The calling thread.
pub(crate) struct ThisThread {
    pub(crate) id: u32,
    /// Whether its process takes part in barriers.
    pub(crate) barriers: bool,
    scene: &'static Scene,
    number: usize,
}

impl ThisThread {
    pub(crate) fn get() -> Self {
        world::with(|world| {
            let (scene, number) = (world.scene, world.current);
            Self { id: scene.tid(number), barriers: scene.has_barriers(number), scene, number }
        })
    }

    pub(crate) fn try_fast() -> Option<Self> {
        Some(Self::get()).filter(|thread| thread.barriers && !thread.is_full())
    }

    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        Self::try_fast()
    }

    pub(crate) fn list(&self) -> Option<&Head> {
        Some(self.scene.head_of(self.number))
    }

    pub(crate) fn identity_list(&self) -> &Head {
        self.scene.identity_head_of(self.number)
    }

    /// Whether there is no room in its list for another lock: there is room for one, or for none.
    pub(crate) fn is_full(&self) -> bool {
        match self.scene.scenario.room(self.number) {
            Some(0) => true,
            Some(_) => !is_empty(self.scene.head_of(self.number)),
            None => false,
        }
    }
}

/// Every thread that takes part in barriers comes to one. False where the caller may not ask for that.
pub(crate) fn barrier() -> bool {
    ThisThread::get().barriers && step::call(Op::Barrier) == 0
}
