//! The unsafe code of this crate, behind safe functions and types.
#![allow(unsafe_code)]

mod fork;

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

pub use self::fork::ForkWords;
pub(crate) use self::fork::{at_fork, epoch, wipe, wipe_on_fork};

/// A reference to a part of a shared value, together with the [`Arc`] that keeps the value alive.
#[derive(Debug)]
pub struct Pinned<O: ?Sized, T: ?Sized> {
    owner: Arc<O>,
    target: NonNull<T>,
}

impl<O: ?Sized> Pinned<O, O> {
    /// Creates a reference to the whole value. Dereferencing it does not go through the [`Arc`].
    pub fn whole(owner: Arc<O>) -> Self {
        let target = NonNull::from(&*owner);
        Self { owner, target }
    }
}

impl<O: ?Sized, T: ?Sized> Clone for Pinned<O, T> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), target: self.target }
    }
}

impl<O: ?Sized, T: ?Sized> Pinned<O, T> {
    /// Creates a reference to the part of the value that `project` returns.
    ///
    /// # Errors
    /// The errors of `project`.
    pub fn new<E>(owner: Arc<O>, project: impl for<'a> FnOnce(&'a O) -> Result<&'a T, E>) -> Result<Self, E> {
        let target = NonNull::from(project(&owner)?);
        Ok(Self { owner, target })
    }

    /// Returns the whole value.
    pub fn owner(this: &Self) -> &Arc<O> {
        &this.owner
    }
}

impl<O: ?Sized, T: ?Sized> Deref for Pinned<O, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `project` returned the target for every lifetime of its argument, so the target is valid while `*owner` is borrowed.
        // The Arc in `self` keeps `*owner` at its address, and nothing borrows it mutably.
        unsafe { self.target.as_ref() }
    }
}

// SAFETY: a `Pinned` consists of an `Arc<O>` and a `&T`, which are `Send` and `Sync` under these bounds.
unsafe impl<O: ?Sized + Send + Sync, T: ?Sized + Sync> Send for Pinned<O, T> {}
// SAFETY: as above.
unsafe impl<O: ?Sized + Send + Sync, T: ?Sized + Sync> Sync for Pinned<O, T> {}
