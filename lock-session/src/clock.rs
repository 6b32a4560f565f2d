//! The clock since boot, which also counts the time during which the machine is suspended.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Returns the time since boot in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has this clock since 2.6.39");
    nanoseconds(time)
}

/// Converts a duration. One of more than 584 years is cut.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
