use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::event::Time;

/// Returns the time since boot, in nanoseconds.
pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has this clock");
    nanoseconds(time)
}

pub(crate) fn nanoseconds(duration: Duration) -> Time {
    Time::try_from(duration.as_nanos()).unwrap_or(Time::MAX)
}
