//! Items that the model checker and the weak-memory checks replace.
//!
//! The crates `lock-model` and `lock-weak` compile some files of this crate with another module `env`. Those files import their
//! atomic types and fences from here.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch; 0 when the clock is before it.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The id of the calling process.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}
