//! Data that a lock protects.

use std::cell::UnsafeCell;

/// Something that a lock protects. Miri reports accesses that are not ordered.
#[derive(Debug, Default)]
pub(crate) struct Protected<T>(UnsafeCell<T>);

// SAFETY: the checks access the value only while they hold the lock. Miri reports where that fails.
unsafe impl<T: Send> Sync for Protected<T> {}

impl<T> Protected<T> {
    /// Accesses the value; the caller has the lock.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: as above.
        act(unsafe { &mut *self.0.get() })
    }
}
