//! Data that a lock protects.

use std::cell::UnsafeCell;

/// Data that a lock protects. Miri reports unordered accesses.
#[derive(Debug, Default)]
pub(crate) struct Protected<T>(UnsafeCell<T>);

// SAFETY: the checks access the value only while they hold the lock. Miri reports violations as data races.
unsafe impl<T: Send> Sync for Protected<T> {}

impl<T> Protected<T> {
    /// Accesses the value. The caller holds the lock.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the caller holds the lock, so no other thread accesses the value.
        act(unsafe { &mut *self.0.get() })
    }
}
