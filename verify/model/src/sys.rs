//! The stand-in for lock-shm's `sys`, with the [simulated kernel](crate::kernel) and its robust lists.
#![allow(unsafe_code)]

mod cache;
mod futex;
#[path = "lock-shm/sys/head.rs"]
mod head;
mod identities;
#[path = "lock-shm/sys/list.rs"]
mod list;
mod lists;
#[path = "lock-shm/sys/mark.rs"]
mod mark;
mod rate_limit;
mod this_thread;
mod thread_end;

use std::sync::atomic::Ordering::Relaxed;

use crate::env::AtomicU64;

pub(crate) use self::cache::can_link;
pub(crate) use self::futex::{wait, wake_one, wake_one_of};
pub(crate) use self::head::{Head, OFFSET, address, is_empty};
pub(crate) use self::identities::{forget, link_identity, unlink_identity};
pub(crate) use self::list::{link, link_only, unlink, unlink_only};
pub(crate) use self::lists::Lists;
pub(crate) use self::rate_limit::RateLimit;
pub(crate) use self::this_thread::{ThisThread, barrier};
pub(crate) use self::thread_end::end_thread;

/// Returns the number of set bits in these words.
pub(crate) fn count_ones(words: &[AtomicU64]) -> u64 {
    words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
}
