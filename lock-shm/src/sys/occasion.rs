//! Checks that are not made every time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Remembers when something that takes time was last done.
#[derive(Debug, Default)]
pub(crate) struct Occasion(AtomicU64);

impl Occasion {
    /// Whether it was last done so many milliseconds ago; then it counts as done now.
    pub(crate) fn is_due(&self, after: u64) -> bool {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes a time to the place, which is valid for that.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        let due = now.saturating_sub(self.0.load(Relaxed)) >= after;
        if due {
            self.0.store(now, Relaxed);
        }
        due
    }
}
