//! The events and spans of the crate `tracing`, with the feature of that name.
//!
//! Their names and fields are stable: a change of one is a breaking change. Their target is `lock_core` and a module below it, and their messages are
//! for people and may change. Without a subscriber they cost nothing: an acquisition that need not wait has no code for them, and any other one
//! reads one word of memory. Clocks are only read for a subscriber.
//!
//! | name | level | when | fields |
//! |---|---|---|---|
//! | [`WAIT`] (span) | debug | during the wait of an acquisition, and during any acquisition that asks the kernel or a server | `store`, `id` |
//! | [`WAITED`] | info | a wait that was longer than the [threshold](set_wait_threshold) has ended, with the lock or without it | `store`, `id`, `waited_ms` |
//! | [`TIMED_OUT`] | debug | a wait has ended without the lock: its deadline passed, or it was cancelled | `store`, `id`, `error` |
//! | [`RECOVERED`] | warn | a lock was acquired whose earlier owner died or panicked | `store`, `id`, `death`, `cause` |
//! | [`REFUSED`] | debug | an acquisition failed | `store`, `id`, `error` |
//! | [`RELEASE_FAILED`] | error | the release of a lock failed | `store`, `id`, `error` |
//! | [`DEADLOCK`] | warn | a wait is part of a deadlock; it goes on, or it ends with [`ErrorKind::Deadlock`](crate::ErrorKind::Deadlock) if the program asked for that | `store`, `id`, `cycle` |
//! | [`EXHAUSTED`] | warn | an allocation found no free id | `store`, `error` |
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `store` | text | the URL of the store |
//! | `id` | number | the id of the lock |
//! | `waited_ms` | number | the length of the wait in milliseconds |
//! | `death` | text | the report, with the owner that died |
//! | `cause` | text | the [cause](crate::Cause) of its death |
//! | `cycle` | text | the threads of the deadlock, with the locks that they hold and wait for |
//! | `error` | text | the error, with the holder of the lock where it is known |
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! // A wait of a tenth of a second is worth an event in this program.
//! lock_core::events::set_wait_threshold(Duration::from_millis(100));
//! assert_eq!(lock_core::events::wait_threshold(), Duration::from_millis(100));
//! ```

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::Lock;

/// A span: an acquisition that may wait.
pub const WAIT: &str = "lock.wait";
/// A wait was longer than the threshold.
pub const WAITED: &str = "lock.waited";
/// A wait ended without the lock.
pub const TIMED_OUT: &str = "lock.timed_out";
/// A lock was acquired whose earlier owner died or panicked.
pub const RECOVERED: &str = "lock.recovered";
/// An acquisition failed.
pub const REFUSED: &str = "lock.refused";
/// A release failed.
pub const RELEASE_FAILED: &str = "lock.release_failed";
/// A wait is part of a deadlock.
pub const DEADLOCK: &str = "lock.deadlock";
/// An allocation found no free id.
pub const EXHAUSTED: &str = "lock.exhausted";

/// In nanoseconds.
static THRESHOLD: AtomicU64 = AtomicU64::new(1_000_000_000);

/// Sets the length of a wait from which on it is reported by [`WAITED`], for all locks of the process. It is one second at first.
pub fn set_wait_threshold(threshold: Duration) {
    THRESHOLD.store(threshold.as_nanos().try_into().unwrap_or(u64::MAX), Relaxed);
}

/// Returns the length of a wait from which on it is reported by [`WAITED`].
pub fn wait_threshold() -> Duration {
    Duration::from_nanos(THRESHOLD.load(Relaxed))
}

/// Returns true if a subscriber may want to know about waits.
#[inline]
pub(crate) fn are_waits_observed() -> bool {
    LevelFilter::current() >= LevelFilter::INFO
}

/// Runs a wait in its span, and reports it if it is long.
#[cold]
#[inline(never)]
pub(crate) fn observe<T>(lock: &Lock, wait: impl FnOnce() -> T) -> T {
    let (store, id) = (lock.store_url(), lock.id().get());
    let start = Instant::now();
    let result = tracing::debug_span!(WAIT, store, id).in_scope(wait);
    let waited = start.elapsed();
    if waited >= wait_threshold() {
        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(name: WAITED, store, id, waited_ms, "waited for a lock");
    }
    result
}
