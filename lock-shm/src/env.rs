//! Items that the model checker and the weak-memory tests replace.
//!
//! The crates `lock-model` and `lock-weak` compile some files of this crate with their own module `env`. Those files import their
//! atomic types from here. Each function is inlined, and most do nothing in this crate.

pub(crate) use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize};

use std::sync::atomic::{Ordering, compiler_fence};

/// Number of times to poll a held lock before sleeping.
pub(crate) const SPINS: u32 = 100;

/// Number of acquisitions after which an owner without waiters returns to releases by plain store.
pub(crate) const PLAIN_STORES_AFTER: u64 = 1024;

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
