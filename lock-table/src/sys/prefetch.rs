//! Prefetching of cache lines.

use std::sync::atomic::AtomicU64;

/// Asks the processor to load the cache line of a word that the caller will use soon. The call has no other effect.
#[inline]
pub(crate) fn prefetch(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint. It accesses no memory for the program and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
    }
    let _ = word;
}
