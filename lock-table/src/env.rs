//! Items that the model checker and the weak-memory checks replace.
//!
//! The crates `lock-model` and `lock-weak` compile some files of this crate with another module `env`. Those files import their
//! atomic types and fences from here.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::identity::Identity;
use crate::sys;

/// Seconds since the Unix epoch; 0 when the clock is before it.
pub(crate) fn unix_time() -> u64 {
    sys::coarse_time(libc::CLOCK_REALTIME_COARSE).0
}

/// The id of the calling process, without a system call.
pub(crate) fn process_id() -> u32 {
    Identity::of_this_process().map_or(0, |identity| identity.pid)
}
