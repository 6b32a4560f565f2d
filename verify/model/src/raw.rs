//! Stand-ins for lock-core's `Deadline` and `RawLock`.

use std::time::Duration;

use real_core::{Generation, HeldBy, Holder, Result};

use crate::death::{Acquired, Proof};
use crate::op::Op;
use crate::step;

/// The deadline of an acquisition. The search decides when [`Deadline::At`] passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deadline {
    Now,
    At,
    Never,
}

impl Deadline {
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At => Some(Duration::from_secs(1 - step::call(Op::Clock))),
            Self::Never => None,
        }
    }
}

/// The trait that a backend's lock implements.
#[allow(dead_code, reason = "the model does not call all of it")]
pub(crate) trait RawLock {
    fn try_acquire_fast(&self) -> Option<u64>;
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;
    fn release(&self, proof: Proof) -> Result<()>;
    fn mark_consistent(&self) -> Result<()>;
    fn holder(&self) -> Result<Option<Holder>>;
    fn held_by(&self) -> HeldBy;
    fn generation(&self) -> Option<Generation>;
}
