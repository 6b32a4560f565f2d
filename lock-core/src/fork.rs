//! What a fork changes: a child is another process, and owns nothing of its parent's.

use std::sync::atomic::{AtomicU64, Ordering};

static EPOCH: AtomicU64 = AtomicU64::new(0);

/// A number that differs between a process and the child it forked: a backend that remembers something about its process (its
/// thread id, say) remembers this number with it. One relaxed load.
///
/// It changes when the first store has been opened and the fork goes through libc's `fork`; a raw `clone` system call without
/// `CLONE_VM` is not seen.
#[inline]
pub fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Called in the child.
pub(crate) fn forked() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}
