//! Sleeping and waking.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while the word has this value, for no longer than `duration`, measured on the monotonic clock. It may wake for no reason.
pub(crate) fn wait(word: &AtomicU32, value: u32, duration: Duration) {
    let deadline = monotonic().saturating_add(duration);
    let deadline = libc::timespec {
        // The crate `libc` is about to change the type's width on musl, and deprecates its name there.
        tv_sec: deadline.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: deadline.subsec_nanos().into(),
    };
    // SAFETY: the word and the time are valid for the time of the call, which writes to neither.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            value,
            &raw const deadline,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    // Whatever it says (woken, EINTR, EAGAIN, ETIMEDOUT), the caller looks at the word and at the clock again.
}

/// Wakes one sleeper, if there is one.
pub(crate) fn wake_one(word: &AtomicU32) {
    // SAFETY: the call only looks up the address of the word, which is valid.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a time to the place, which is valid for that.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(done, 0, "the monotonic clock is always there: {}", io::Error::last_os_error());
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
