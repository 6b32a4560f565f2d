//! Items that the model checker and the weak-memory tests replace.
//!
//! The crates `lock-model` and `lock-weak` compile some files of this crate with their own module `env`. Those files import their
//! atomic types from here. Each function is inlined, and most do nothing in this crate.

pub(crate) use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize};

use std::sync::atomic::{Ordering, compiler_fence};
use std::time::Duration;

/// Number of times to poll a held lock before sleeping.
pub(crate) const SPINS: u32 = 100;

/// Number of acquisitions after which an owner without waiters returns to releases by plain store.
pub(crate) const PLAIN_STORES_AFTER: u64 = 1024;

/// The longest time for which a lock is reserved.
///
/// The woken thread normally runs within microseconds. On a busy machine it has to wait until a processor is free.
pub(crate) const RESERVATION: Duration = Duration::from_millis(5);

/// Returns the time at which a reservation is made now.
pub(crate) fn reservation() -> u64 {
    lock_table::monotonic_time()
}

/// Returns true if a reservation that was made at `start` has ended.
pub(crate) fn has_ended(start: u64) -> bool {
    // A process in another time namespace (time_namespaces(7)) may have another clock.
    reservation().checked_sub(start).is_none_or(|age| u128::from(age) >= RESERVATION.as_nanos())
}

/// Compiler fence that pairs with the [barrier](crate::sys::barrier) of another thread.
#[inline(always)]
pub(crate) fn light_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// Returns the word at the address in a link.
#[inline(always)]
pub(crate) fn link_target(address: usize) -> *const AtomicUsize {
    address as *const AtomicUsize
}

/// Marks the start of a loop iteration that depends only on these two variables.
#[inline(always)]
pub(crate) fn round_depends_on(_: u32, _: u32) {}
