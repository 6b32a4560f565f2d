use std::time::{Duration, Instant};

/// How long an acquisition may wait. Deadlines are on the monotonic clock and are never early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// Not at all: one attempt.
    Now,
    /// Until this instant.
    At(Instant),
    /// For as long as it takes.
    Never,
}

impl Deadline {
    /// This long from now; a duration beyond what the clock can count means [`Deadline::Never`].
    pub fn after(duration: Duration) -> Self {
        Instant::now().checked_add(duration).map_or(Self::Never, Self::At)
    }

    /// What is left: `None` without a deadline, zero when it has passed.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }

    /// Whether there is nothing left to wait for.
    pub fn has_passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}
