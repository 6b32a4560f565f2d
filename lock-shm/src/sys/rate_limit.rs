//! A limit on the rate of costly checks.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// The number of calls of [`RateLimit::may_skip`] between two readings of the clock, if the calls follow each other quickly.
const SKIPS: u32 = 16;

/// The longest time between two readings of the clock, in milliseconds, after which calls count as quick.
const QUICK: u64 = 10;

/// The times of the last check and of the last reading of the clock, in milliseconds on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    checked: AtomicU64,
    read: AtomicU64,
    /// The number of calls that may skip the reading of the clock.
    skips: AtomicU32,
}

impl RateLimit {
    /// Returns whether the caller may assume that no check is due, without reading the clock.
    ///
    /// This is so for up to 16 calls after two readings of the clock within 10 ms. A thread that polls less often reads the clock each
    /// time, so that skipped readings delay its checks by 16 polls at most.
    #[inline]
    pub(crate) fn may_skip(&self) -> bool {
        let skips = self.skips.load(Relaxed);
        if skips != 0 {
            self.skips.store(skips - 1, Relaxed);
        }
        skips != 0
    }

    /// Returns whether at least `after` milliseconds have passed since the last check, and if so, starts a new interval.
    pub(crate) fn is_due(&self, after: u64) -> bool {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is valid for writes of a `timespec`.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        let is_quick = now.saturating_sub(self.read.load(Relaxed)) < QUICK;
        self.read.store(now, Relaxed);
        self.skips.store(if is_quick { SKIPS } else { 0 }, Relaxed);
        let due = now.saturating_sub(self.checked.load(Relaxed)) >= after;
        if due {
            self.checked.store(now, Relaxed);
        }
        due
    }
}
