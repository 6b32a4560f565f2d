use std::time::Duration;

use lock_core::{Options, Result};

/// The times of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// The time to live: the server ends the session this long after the last sign of life, or later.
    pub ttl: Duration,
    /// How long before that the process stops relying on the session. It covers clocks that run at different rates, and the time that the
    /// functions of [`Guard::on_lost`](lock_core::Guard::on_lost) need.
    pub margin: Duration,
}

/// The time to live if the URL of a store does not give one.
const TTL: Duration = Duration::from_secs(10);

impl Timing {
    /// Takes the options `ttl`, 10 s by default, and `margin`, a fifth of it by default. The backend checks them.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
    pub fn take(options: &mut Options<'_>) -> Result<Self> {
        let ttl = take_duration(options, "ttl")?.unwrap_or(TTL);
        let margin = take_duration(options, "margin")?.unwrap_or(ttl / 5);
        Ok(Self { ttl, margin })
    }

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

/// Takes an option that is a duration with its unit, such as `10s`.
///
/// # Errors
/// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
pub fn take_duration(options: &mut Options<'_>, key: &'static str) -> Result<Option<Duration>> {
    Ok(options.take::<humantime::Duration>(key)?.map(Into::into))
}
