//! The coarse clocks of the kernel, which are read without a system call.

/// Returns the time of a coarse clock (clock_gettime(2)), in seconds and nanoseconds. It is up to 10 ms old.
///
/// Returns 0 for a time before the start of the clock.
#[inline]
pub fn coarse_time(clock: libc::clockid_t) -> (u64, u32) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes of a `timespec`.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec.try_into().unwrap_or(0), now.tv_nsec as u32)
}
