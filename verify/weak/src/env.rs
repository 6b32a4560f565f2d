//! The environment of the checked code: the standard library's atomics, and small bounds.

pub(crate) use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, fence};

use std::sync::atomic::Ordering;

use crate::member::Member;

/// Number of times to poll a held lock before sleeping. Under Miri a poll is slow, and other threads run without it.
pub(crate) const SPINS: u32 = 2;

/// Number of acquisitions after which an owner without waiters returns to releases by plain store. Small, so that the checks cover it.
pub(crate) const PLAIN_STORES_AFTER: u64 = 4;

/// Full fence. With a fence in [`barrier`](crate::sys::barrier), it has the effect of a `membarrier` and a compiler fence.
pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}

/// Returns the word at the address in a link.
pub(crate) fn link_target(address: usize) -> *const AtomicUsize {
    address as *const AtomicUsize
}

pub(crate) fn round_depends_on(_: u32, _: u32) {}

pub(crate) fn begin_wait() {}

/// Returns whether the calling thread is starved, as every other thread is.
pub(crate) fn is_starved() -> bool {
    Member::current().number % 2 == 1
}

pub(crate) fn reservation() -> u64 {
    1
}

/// Returns whether a reservation has ended: every other time, because Miri isolates programs from the system clock.
pub(crate) fn has_ended(_: u64) -> bool {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) % 2 == 1
}

/// Returns a constant time, because Miri isolates programs from the system clock.
pub(crate) fn unix_time() -> u64 {
    1
}

pub(crate) fn process_id() -> u32 {
    1
}
