//! The unsafe code of this crate, each piece behind a safe face.
#![allow(unsafe_code)]

mod fork;

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

pub use self::fork::ForkWords;
pub(crate) use self::fork::{at_fork, epoch, wipe, wipe_on_fork};

/// A reference into something shared, together with what keeps it alive.
#[derive(Debug)]
pub struct Pinned<O: ?Sized, T: ?Sized> {
    owner: Arc<O>,
    target: NonNull<T>,
}

impl<O: ?Sized> Pinned<O, O> {
    /// The whole owner: where it is, without a way round.
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
    /// What `project` finds in the owner.
    ///
    /// # Errors
    /// Those of `project`.
    pub fn new<E>(owner: Arc<O>, project: impl for<'a> FnOnce(&'a O) -> Result<&'a T, E>) -> Result<Self, E> {
        let target = NonNull::from(project(&owner)?);
        Ok(Self { owner, target })
    }

    /// The owner.
    pub fn keeper(this: &Self) -> &Arc<O> {
        &this.owner
    }
}

impl<O: ?Sized, T: ?Sized> Deref for Pinned<O, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the target was borrowed from `*owner` for a lifetime of the callee's choice, so it is valid for as long as `*owner`
        // is borrowed. The owner stays where it is, behind the Arc, for as long as `self` holds it, and is never borrowed mutably.
        unsafe { self.target.as_ref() }
    }
}

// SAFETY: a `Pinned` is an `Arc<O>` and a `&T`; it may be sent and shared when those may.
unsafe impl<O: ?Sized + Send + Sync, T: ?Sized + Sync> Send for Pinned<O, T> {}
// SAFETY: as above.
unsafe impl<O: ?Sized + Send + Sync, T: ?Sized + Sync> Sync for Pinned<O, T> {}

/// A box that is taken back by hand: dropping one frees nothing, and so is no code.
#[derive(Debug)]
pub(crate) struct Parked<T>(Option<NonNull<T>>);

impl<T> Parked<T> {
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    pub(crate) fn new(value: Box<T>) -> Self {
        Self(Some(NonNull::from(Box::leak(value))))
    }

    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: it came from a box in `new`, and is freed by `unpark` only, which takes `self`.
        self.0.map(|value| unsafe { value.as_ref() })
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as in `get`; `self` is borrowed exclusively, and no other value has the pointer.
        self.0.as_mut().map(|value| unsafe { value.as_mut() })
    }

    pub(crate) fn unpark(self) -> Option<Box<T>> {
        // SAFETY: it came from a box in `new`, and `self`, which had the only pointer to it, is consumed.
        self.0.map(|value| unsafe { Box::from_raw(value.as_ptr()) })
    }
}

// SAFETY: a `Parked` is an `Option<Box<T>>` that is not dropped by itself; it may be sent and shared when that may.
unsafe impl<T: Send> Send for Parked<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Parked<T> {}
