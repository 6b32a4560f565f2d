//! The plug-in side of a lock, as far as the checked code has it.

use std::time::Duration;

use real_core::{Generation, Holder, Result};

use crate::death::{Acquired, Proof};
use crate::op::Op;
use crate::step;

/// How long an acquisition may wait: when a deadline passes is one of the things that are tried out.
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

/// The plug-in side of a lock.
#[allow(dead_code, reason = "what only describes is not called")]
pub(crate) trait RawLock {
    fn acquire_at_once(&self) -> Option<u64>;
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;
    fn release(&self, proof: Proof) -> Result<()>;
    fn mark_consistent(&self) -> Result<()>;
    fn holder(&self) -> Result<Option<Holder>>;
    fn generation(&self) -> Option<Generation>;
}
