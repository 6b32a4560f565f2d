//! The futex calls: wait and wake.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// All classes of sleepers.
pub const ANY: u32 = libc::FUTEX_BITSET_MATCH_ANY as u32;

/// Sleeps while the word has this value, for at most `duration` on the monotonic clock. Spurious wake-ups are possible.
///
/// Of the calls of [`wake_one_of`], only those with a bit of `class` wake the thread.
pub fn wait(word: &AtomicU32, value: u32, class: u32, duration: Duration) {
    let deadline = monotonic().saturating_add(duration);
    let deadline = libc::timespec {
        // No cast to `time_t`: the crate `libc` deprecates that name on musl, where its width will change.
        tv_sec: deadline.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: deadline.subsec_nanos().into(),
    };
    // SAFETY: the word and `deadline` are valid for reads during the call, and the call writes to neither.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            value,
            &raw const deadline,
            ptr::null::<u32>(),
            class,
        )
    };
    // The result (woken, EINTR, EAGAIN or ETIMEDOUT) is ignored: the caller reads the word and the clock again.
}

/// Wakes one thread that sleeps on the word, if there is one.
pub fn wake_one(word: &AtomicU32) {
    wake_one_of(word, ANY);
}

/// Wakes the thread that has slept longest on the word with a bit of `class`. Returns false if there is none.
pub fn wake_one_of(word: &AtomicU32, class: u32) -> bool {
    let (nothing, one) = (ptr::null::<u32>(), 1);
    // SAFETY: the call uses the address only to find the waiters; it reads and writes nothing there, nor at the null pointers.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE_BITSET, one, nothing, nothing, class) };
    woken > 0
}

fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes of a `timespec`.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(done, 0, "CLOCK_MONOTONIC cannot be read: {}", io::Error::last_os_error());
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
