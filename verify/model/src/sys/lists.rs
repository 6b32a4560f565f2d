//! The robust lists and identity lists of all threads.

use std::cell::Cell;

use super::head::Head;
use crate::bounds::THREADS;
use crate::env::{AtomicIsize, AtomicUsize};

/// The list heads of the threads and, last, of the observer.
#[repr(C)]
pub(crate) struct Lists {
    /// The robust lists, which the kernel walks.
    pub(crate) known: [Head; THREADS + 1],
    /// The lists of locks with an identity number.
    pub(crate) identities: [Head; THREADS + 1],
}

thread_local! {
    static LISTS: Cell<Option<&'static Lists>> = const { Cell::new(None) };
}

impl Lists {
    pub(crate) fn new() -> Self {
        let head = |_| Head { first: AtomicUsize::default(), offset: AtomicIsize::default(), pending: AtomicUsize::default() };
        Self { known: std::array::from_fn(head), identities: std::array::from_fn(head) }
    }

    /// Makes these the lists of the simulated threads.
    pub(crate) fn enter(&'static self) {
        LISTS.set(Some(self));
    }

    /// Returns the lists of the simulated threads.
    pub(super) fn current() -> &'static Self {
        LISTS.get().expect("a simulation has begun")
    }
}
