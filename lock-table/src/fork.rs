//! Fork handling for backends. A child process owns none of its parent's locks.

pub use lock_core::__private::fork::{current, epoch, retry_across_forks};
