use std::time::Duration;

/// The times of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// The time to live: the server ends the session this long after the last sign of life, or later.
    pub ttl: Duration,
    /// How long before that the process stops relying on the session. It covers clocks that run at different rates, and the time that the
    /// functions of [`Guard::on_lost`](lock_core::Guard::on_lost) need.
    pub margin: Duration,
}

impl Timing {
    /// Returns how long a session is relied on after the sending of a request that the server confirms.
    pub(crate) fn relied_on(self) -> Duration {
        self.ttl.saturating_sub(self.margin)
    }

    /// Returns the time between two renewals.
    pub(crate) fn renewal(self) -> Duration {
        self.ttl / 3
    }

    /// Returns the time after a failed renewal until the next one.
    pub(crate) fn retry(self) -> Duration {
        (self.ttl / 20).max(Duration::from_millis(10))
    }
}
