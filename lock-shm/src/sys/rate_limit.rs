//! A limit on the rate of costly checks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The time of the last check, in milliseconds on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct RateLimit(AtomicU64);

impl RateLimit {
    /// Returns whether at least `after` milliseconds have passed since the last check, and if so, starts a new interval.
    pub(crate) fn is_due(&self, after: u64) -> bool {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is valid for writes of a `timespec`.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        let due = now.saturating_sub(self.0.load(Relaxed)) >= after;
        if due {
            self.0.store(now, Relaxed);
        }
        due
    }
}
