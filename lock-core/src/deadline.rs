use std::time::{Duration, Instant};

/// The time at which an acquisition stops waiting, on the monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Deadline {
    /// Does not wait: one attempt.
    Now,
    /// Waits until this instant, never less.
    At(Instant),
    /// Waits without a limit.
    Never,
}

impl Deadline {
    /// Returns the deadline at this duration from now, or [`Deadline::Never`] if it overflows an [`Instant`].
    pub fn after(duration: Duration) -> Self {
        Instant::now().checked_add(duration).map_or(Self::Never, Self::At)
    }

    /// Returns the time until the deadline: zero when it has passed, `None` for [`Deadline::Never`].
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }

    /// Returns true if the deadline has passed.
    pub fn has_passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }
}
