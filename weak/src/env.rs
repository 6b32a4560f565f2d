//! The environment of the checked code: the standard library's atomics, and a few small numbers.

pub(crate) use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, fence};

use std::sync::atomic::Ordering;

/// Number of times to poll a held lock before sleeping. Miri takes longer for each poll, and has other ways to let other threads run.
pub(crate) const SPINS: u32 = 2;

/// Number of acquisitions after which an owner without waiters goes back to plain stores: that happens early here.
pub(crate) const PLAIN_STORES_AFTER: u64 = 4;

/// A `membarrier` of another thread and the fence of the compiler together are as two fences.
pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}

/// The word that a link leads to.
pub(crate) fn link_target(address: usize) -> *const AtomicUsize {
    address as *const AtomicUsize
}

pub(crate) fn round_depends_on(_: u32, _: u32) {}

/// The clock stands still, because Miri has none without the machine's.
pub(crate) fn unix_time() -> u64 {
    1
}

pub(crate) fn process_id() -> u32 {
    1
}
