//! Stand-in for lock-core's `Deadline`.

use std::time::Duration;

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
