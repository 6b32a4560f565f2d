//! A mapping that keeps an open file description alive, and that forked children do not inherit.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

use crate::fork;

/// A mapping of the first page of a file, which is never read.
#[derive(Debug)]
pub(crate) struct DescriptionKeeper {
    address: NonNull<c_void>,
    epoch: u64,
}

const LENGTH: usize = 4096;

impl DescriptionKeeper {
    /// Maps the file. From then on its open file description lives as long as this value, whatever becomes of the descriptor.
    pub(crate) fn new(file: impl AsFd) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(LENGTH).expect("a page is not empty");
        // SAFETY: the kernel chooses the address, so that no mapping of the program's is replaced.
        let address = unsafe { mmap(None, length, ProtFlags::PROT_NONE, MapFlags::MAP_SHARED, file, 0)? };
        let keeper = Self { address, epoch: fork::epoch() };
        // SAFETY: the range is the mapping that was just made, and nothing points into it.
        unsafe { madvise(address, LENGTH, MmapAdvise::MADV_DONTFORK)? };
        Ok(keeper)
    }
}

impl DescriptionKeeper {
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.epoch == fork::epoch()
    }
}

impl Drop for DescriptionKeeper {
    fn drop(&mut self) {
        // In a forked child there is no such mapping, and something else may be at its address.
        if self.is_of_this_process() {
            // SAFETY: the range is the mapping of `new`, which nothing points into, and this process made it.
            let _ = unsafe { munmap(self.address, LENGTH) };
        }
    }
}

// SAFETY: the address is only passed to `munmap`, which any thread may call.
unsafe impl Send for DescriptionKeeper {}
// SAFETY: as above.
unsafe impl Sync for DescriptionKeeper {}
