//! A mapping that keeps an open file description open. Forked children do not inherit it.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

use crate::fork;

/// A mapping of the first page of a file. It is never accessed.
#[derive(Debug)]
pub(crate) struct DescriptionMapping {
    address: NonNull<c_void>,
    epoch: u64,
}

const LENGTH: usize = 4096;

impl DescriptionMapping {
    /// Maps the file. The mapping keeps the open file description open after the descriptor is closed.
    pub(crate) fn new(file: impl AsFd) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(LENGTH).expect("LENGTH is not 0");
        // SAFETY: the kernel chooses the address, so that the call replaces no mapping of the program.
        let address = unsafe { mmap(None, length, ProtFlags::PROT_NONE, MapFlags::MAP_SHARED, file, 0)? };
        let keeper = Self { address, epoch: fork::epoch() };
        // SAFETY: the range is the new mapping, and no pointer into it exists.
        unsafe { madvise(address, LENGTH, MmapAdvise::MADV_DONTFORK)? };
        Ok(keeper)
    }
}

impl DescriptionMapping {
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.epoch == fork::epoch()
    }
}

impl Drop for DescriptionMapping {
    fn drop(&mut self) {
        // A forked child has no such mapping (MADV_DONTFORK), and another mapping may have its address.
        if self.is_of_this_process() {
            // SAFETY: the range is the mapping that this process created in `new`, and no pointer into it exists.
            let _ = unsafe { munmap(self.address, LENGTH) };
        }
    }
}

// SAFETY: the address is only passed to `munmap`, which any thread may call.
unsafe impl Send for DescriptionMapping {}
// SAFETY: as above.
unsafe impl Sync for DescriptionMapping {}
