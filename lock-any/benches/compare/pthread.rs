//! glibc's robust process-shared mutex, as podman has it.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// A mutex in a page that could be shared with another process.
pub(crate) struct RobustMutex(NonNull<libc::pthread_mutex_t>);

impl RobustMutex {
    pub(crate) fn new() -> Self {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the page is fresh, large enough and aligned for a mutex, and stays mapped until the drop; the attributes are
        // initialised by the first of the calls that use them.
        unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let page = libc::mmap(ptr::null_mut(), size_of::<libc::pthread_mutex_t>(), protection, flags, -1, 0);
            assert_ne!(page, libc::MAP_FAILED, "a page");
            let mutex = page.cast::<libc::pthread_mutex_t>();
            assert_eq!(libc::pthread_mutexattr_init(attributes.as_mut_ptr()), 0);
            assert_eq!(libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED), 0);
            assert_eq!(libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST), 0);
            assert_eq!(libc::pthread_mutex_init(mutex, attributes.as_ptr()), 0);
            Self(NonNull::new_unchecked(mutex))
        }
    }

    pub(crate) fn lock_and_unlock(&self) {
        // SAFETY: the mutex was initialised, and this is the thread that unlocks it.
        let (locked, unlocked) =
            unsafe { (libc::pthread_mutex_lock(self.0.as_ptr()), libc::pthread_mutex_unlock(self.0.as_ptr())) };
        assert!(locked == 0 && unlocked == 0, "the mutex works");
    }
}

impl Drop for RobustMutex {
    fn drop(&mut self) {
        // SAFETY: nobody holds the mutex, and nobody has its address any more.
        unsafe {
            libc::pthread_mutex_destroy(self.0.as_ptr());
            libc::munmap(self.0.as_ptr().cast(), size_of::<libc::pthread_mutex_t>());
        }
    }
}
