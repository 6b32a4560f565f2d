//! The stand-in for lock-shm's `sys`: the calling thread, its lists, and the kernel's work at its exit.
#![allow(unsafe_code)]

#[path = "model/sys/cache.rs"]
mod cache;
#[allow(unreachable_pub, reason = "the functions are public in lock-table")]
#[path = "model/lock-table/sys/futex.rs"]
mod futex;
#[path = "lock-shm/sys/head.rs"]
mod head;
#[path = "model/sys/identities.rs"]
mod identities;
mod kernel;
#[path = "lock-shm/sys/list.rs"]
mod list;
#[path = "lock-shm/sys/mark.rs"]
mod mark;
mod protected;
#[path = "model/sys/rate_limit.rs"]
mod rate_limit;
mod this_thread;
#[path = "model/sys/thread_end.rs"]
mod thread_end;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) use self::cache::can_link;
pub(crate) use self::futex::{wait, wake_one, wake_one_of};
pub(crate) use self::head::{Head, OFFSET, address, is_empty};
pub(crate) use self::identities::{forget, link_identity, unlink_identity};
pub(crate) use self::kernel::{barrier, walk_list};
pub(crate) use self::list::{link, link_only, unlink, unlink_only};
pub(crate) use self::protected::Protected;
pub(crate) use self::rate_limit::RateLimit;
pub(crate) use self::this_thread::{ThisThread, begin_thread};
pub(crate) use self::thread_end::end_thread;

/// Returns the number of set bits in these words.
pub(crate) fn count_ones(words: &[AtomicU64]) -> u64 {
    words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
}
