//! A limit on the rate of costly checks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The time of the last check, in milliseconds on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct RateLimit(AtomicU64);

impl RateLimit {
    /// Returns whether at least `after` milliseconds have passed since the last check.
    #[inline]
    pub(crate) fn has_passed(&self, after: u64) -> bool {
        self.is_past(now(), after)
    }

    /// Returns whether at least `after` milliseconds have passed since the last check, and if so, starts a new interval.
    pub(crate) fn is_due(&self, after: u64) -> bool {
        let now = now();
        let due = self.is_past(now, after);
        if due {
            self.0.store(now, Relaxed);
        }
        due
    }

    fn is_past(&self, now: u64, after: u64) -> bool {
        now.saturating_sub(self.0.load(Relaxed)) >= after
    }
}

/// Returns the time of the coarse monotonic clock in milliseconds. It is read without a system call, and is up to 10 ms old.
#[inline]
fn now() -> u64 {
    let (seconds, nanoseconds) = lock_table::coarse_time(libc::CLOCK_MONOTONIC_COARSE);
    seconds * 1000 + u64::from(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recent_check_makes_another_one_superfluous() {
        let (limit, after) = (RateLimit::default(), now() / 2);
        for _ in 0..3 {
            assert!(limit.has_passed(after) && limit.is_due(after));
            // Any number of attempts within the interval is not due, and does not prolong it.
            let checked = limit.0.load(Relaxed);
            assert!((0..100).all(|_| !limit.has_passed(after) && !limit.is_due(after)));
            assert_eq!(limit.0.load(Relaxed), checked);
            // As if the interval had passed: the very next attempt is due.
            limit.0.store(checked - after, Relaxed);
        }
    }
}
