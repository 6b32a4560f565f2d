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
pub(crate) struct Pinned<O: ?Sized, T: ?Sized> {
    owner: Arc<O>,
    target: NonNull<T>,
}

impl<O: ?Sized, T: ?Sized> Clone for Pinned<O, T> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), target: self.target }
    }
}

impl<O: ?Sized, T: ?Sized> Pinned<O, T> {
    /// Creates a reference to the part of the value that `project` returns.
    pub(crate) fn new(owner: Arc<O>, project: impl for<'a> FnOnce(&'a O) -> &'a T) -> Self {
        let target = NonNull::from(project(&owner));
        Self { owner, target }
    }

    /// Returns the whole value.
    #[inline]
    pub(crate) fn owner(this: &Self) -> &Arc<O> {
        &this.owner
    }

    /// Returns the whole value.
    #[inline]
    pub(crate) fn into_owner(this: Self) -> Arc<O> {
        this.owner
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

/// References to two parts of a shared value, together with the [`Arc`] that keeps the value alive.
#[derive(Debug)]
pub struct PinnedPair<O, A, B> {
    owner: Arc<O>,
    first: NonNull<A>,
    second: NonNull<B>,
}

impl<O, A, B> PinnedPair<O, A, B> {
    /// Creates references to the parts of the value that `project` returns.
    ///
    /// # Errors
    /// The errors of `project`.
    pub fn new<E>(owner: Arc<O>, project: impl for<'a> FnOnce(&'a O) -> Result<(&'a A, &'a B), E>) -> Result<Self, E> {
        let (first, second) = project(&owner)?;
        let (first, second) = (NonNull::from(first), NonNull::from(second));
        Ok(Self { owner, first, second })
    }

    /// Returns the whole value.
    pub fn owner(&self) -> &Arc<O> {
        &self.owner
    }

    /// Returns the first part.
    #[inline]
    pub fn first(&self) -> &A {
        // SAFETY: as in `Pinned::deref`.
        unsafe { self.first.as_ref() }
    }

    /// Returns the second part.
    #[inline]
    pub fn second(&self) -> &B {
        // SAFETY: as in `Pinned::deref`.
        unsafe { self.second.as_ref() }
    }
}

// SAFETY: a `PinnedPair` consists of an `Arc<O>`, a `&A` and a `&B`, which are `Send` and `Sync` under these bounds.
unsafe impl<O: Send + Sync, A: Sync, B: Sync> Send for PinnedPair<O, A, B> {}
// SAFETY: as above.
unsafe impl<O: Send + Sync, A: Sync, B: Sync> Sync for PinnedPair<O, A, B> {}
