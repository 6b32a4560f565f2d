//! Safe wrappers for the unsafe code of the reference backends.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc;

/// A value for each process. A forked child has none, because the kernel clears the page that points to the value.
pub(super) struct PerProcess<T> {
    /// A page that begins with the pointer to the value, or null before the first use.
    page: AtomicPtr<AtomicPtr<T>>,
}

impl<T: Sync + 'static> PerProcess<T> {
    pub(super) const fn new() -> Self {
        Self { page: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Returns the value of this process, if one is set.
    pub(super) fn get(&self) -> Option<&'static T> {
        // SAFETY: `set` stores null or a page that is never unmapped and begins with an atomic pointer.
        let slot = unsafe { self.page.load(Ordering::Acquire).as_ref() }?;
        // SAFETY: the pointer is null or comes from `Box::into_raw` in this process, and the value is never freed.
        unsafe { slot.load(Ordering::Acquire).as_ref() }
    }

    /// Sets the value of this process unless another thread has set one, and returns the current value.
    pub(super) fn set(&self, value: T) -> io::Result<&'static T> {
        let slot = self.slot()?;
        let value = Box::into_raw(Box::new(value));
        match slot.compare_exchange(ptr::null_mut(), value, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: the value is leaked to this slot.
            Ok(_) => Ok(unsafe { &*value }),
            Err(first) => {
                // SAFETY: no other thread has seen this pointer.
                drop(unsafe { Box::from_raw(value) });
                // SAFETY: values in the slot are never freed.
                Ok(unsafe { &*first })
            }
        }
    }

    fn slot(&self) -> io::Result<&'static AtomicPtr<T>> {
        let known = self.page.load(Ordering::Acquire);
        if known.is_null() {
            let made = page_that_forks_clear()?.cast().as_ptr();
            // If another thread has stored its page first, this page remains mapped and unused.
            let _ = self.page.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
        }
        // SAFETY: the page is never unmapped, and its first bytes are zeros, which is a null pointer.
        Ok(unsafe { &*self.page.load(Ordering::Acquire) })
    }
}

/// Maps a page of zeros, which the kernel clears in each forked child.
fn page_that_forks_clear() -> io::Result<NonNull<u8>> {
    const BYTES: usize = 4096;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel picks the address, so that the mapping replaces no other one.
    let page = unsafe { libc::mmap(ptr::null_mut(), BYTES, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping was created above and has `BYTES` bytes.
    if unsafe { libc::madvise(page, BYTES, libc::MADV_WIPEONFORK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(page.cast()).expect("the kernel does not map a page at null"))
}

/// Gives the calling thread an empty descriptor table, which it shares with no other thread.
pub(super) fn begin_with_no_descriptors() -> io::Result<()> {
    let (first, last) = (0 as libc::c_uint, libc::c_uint::MAX);
    // SAFETY: the calling thread owns no descriptor, and those of other threads stay open in their table.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_UNSHARE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
