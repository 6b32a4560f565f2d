use std::mem;
use std::ops::Deref;

use lock_table::fork;

/// A value that a forked child does not drop.
///
/// Dropping a connection may send a farewell to the server, which would end the session of the parent. In a child that inherited the
/// value, dropping it has no effect, and its memory and its descriptors are kept.
#[derive(Debug)]
pub(crate) struct Unforked<T> {
    /// `None` only while the value is dropped.
    value: Option<T>,
    epoch: u64,
}

impl<T> Unforked<T> {
    /// Takes a value of the calling process.
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), epoch: fork::current() }
    }
}

impl<T> Deref for Unforked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("the value is there until it is dropped")
    }
}

impl<T> Drop for Unforked<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.epoch != fork::epoch() {
            mem::forget(value);
        }
    }
}
