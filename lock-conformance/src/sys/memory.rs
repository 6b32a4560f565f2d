use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// A global allocator for programs that [sweep](crate::sweep).
///
/// It is the system's allocator, except in a target process, which allocates from a separate region. The behaviour of `malloc`
/// depends on the program's history, and would change the target's route. No other process uses the target's private memory, so the
/// sweep need not cover its allocator. Without this allocator, a sweep is slower and covers fewer places.
///
/// ```
/// #[global_allocator]
/// static MEMORY: lock_conformance::sweep::Memory = lock_conformance::sweep::Memory;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory;

const REGION_BYTES: usize = 4 << 20;

#[repr(C, align(4096))]
struct Region(UnsafeCell<[u8; REGION_BYTES]>);

// SAFETY: each thread gets different bytes, and no code accesses them through this value.
unsafe impl Sync for Region {}

static REGION: Region = Region(UnsafeCell::new([0; REGION_BYTES]));
static IS_TARGET: AtomicBool = AtomicBool::new(false);
static USED: AtomicUsize = AtomicUsize::new(0);

impl Memory {
    /// Makes this process a target: it allocates from the region and frees nothing.
    pub(crate) fn keep_apart() {
        IS_TARGET.store(true, Relaxed);
    }
}

// SAFETY: outside of targets this is the system's allocator. In a target, a block is a part of the region that no other block uses,
// or a block of the system's allocator. Blocks are not freed, so they stay valid.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_TARGET.load(Relaxed) && layout.align() <= align_of::<Region>() && layout.size() <= REGION_BYTES {
            // Includes the padding for any start.
            let start = USED.fetch_add(layout.size() + layout.align(), Relaxed).next_multiple_of(layout.align());
            if start + layout.size() <= REGION_BYTES {
                return REGION.0.get().cast::<u8>().wrapping_add(start);
            }
        }
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !IS_TARGET.load(Relaxed) {
            // SAFETY: outside of targets, every block is from the system's allocator.
            unsafe { System.dealloc(block, layout) }
        }
    }
}
