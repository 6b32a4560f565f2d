//! The lists of all threads.

use std::cell::Cell;

use super::head::Head;
use crate::bounds::THREADS;
use crate::env::{AtomicIsize, AtomicUsize};

/// The lists of the threads and, the last, of the observer.
#[repr(C)]
pub(crate) struct Lists {
    /// Those that the kernel knows.
    pub(crate) known: [Head; THREADS + 1],
    /// Those that it does not know.
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

    /// Makes these the lists of the threads that are simulated from now on.
    pub(crate) fn enter(&'static self) {
        LISTS.set(Some(self));
    }

    /// The lists of the threads that are simulated.
    pub(super) fn current() -> &'static Self {
        LISTS.get().expect("a simulation has begun")
    }
}
