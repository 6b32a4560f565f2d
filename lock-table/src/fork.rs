//! Forks, for backends: a child is another process, and owns none of its parent's locks.

pub use lock_core::__private::fork::{current, epoch, undisturbed};
