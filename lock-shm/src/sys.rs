//! All unsafe code of this crate: the calling thread's robust list.
#![allow(unsafe_code)]

mod barrier;
mod cache;
mod head;
mod identities;
mod list;
mod mark;
mod rate_limit;
#[cfg(test)]
mod tests;
mod this_thread;
mod thread_end;

pub(crate) use self::barrier::barrier;
pub(crate) use self::cache::can_link;
pub(crate) use self::head::{Head, OFFSET, address, is_empty};
pub(crate) use self::identities::{forget, link_identity, unlink_identity};
pub(crate) use self::list::{link, link_only, unlink, unlink_only};
pub(crate) use self::rate_limit::RateLimit;
pub(crate) use self::this_thread::ThisThread;
pub(crate) use lock_table::futex::{wait, wake_one, wake_one_of};
