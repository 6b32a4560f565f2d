//! Items that the model checker and the weak-memory checks replace.
//!
//! The crates `lock-model` and `lock-weak` compile some files of this crate with another module `env`. Those files import their
//! atomic types from here. Each function is inlined, and most do nothing here.

pub(crate) use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize};

use std::sync::atomic::{Ordering, compiler_fence};

/// Number of times to poll a held lock before sleeping.
pub(crate) const SPINS: u32 = 100;

/// Number of acquisitions after which an owner without waiters goes back to plain stores.
pub(crate) const PLAIN_STORES_AFTER: u64 = 1024;

/// The fence of a thread that pairs with the [barrier](crate::sys::barrier) of another: it orders for the compiler alone.
#[inline(always)]
pub(crate) fn light_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// The word that a link leads to.
#[inline(always)]
pub(crate) fn link_target(address: usize) -> *const AtomicUsize {
    address as *const AtomicUsize
}

/// Marks the start of a round of a loop that depends on these two variables alone.
#[inline(always)]
pub(crate) fn round_depends_on(_: u32, _: u32) {}
