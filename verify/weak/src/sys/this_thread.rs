//! The stand-in for the calling thread.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

use super::head::{Head, OFFSET};
use crate::member::Member;

thread_local! {
    /// The robust list.
    static LIST: Head = const { Head::new() };
    /// The list of locks with an identity number.
    static IDENTITY_LIST: Head = const { Head::new() };
}

impl Head {
    const fn new() -> Self {
        Self { first: AtomicUsize::new(0), offset: AtomicIsize::new(OFFSET), pending: AtomicUsize::new(0) }
    }
}

/// Makes `me` the calling thread, with empty lists.
pub(crate) fn begin_thread(me: Member) {
    me.enter();
    for list in [&LIST, &IDENTITY_LIST] {
        list.with(|list| list.first.store(ptr::from_ref(list).expose_provenance(), Relaxed));
    }
}

/// The calling thread.
pub(crate) struct ThisThread {
    pub(crate) id: u32,
    /// Whether the process is registered for barriers.
    pub(crate) barriers: bool,
}

impl ThisThread {
    pub(crate) fn get() -> Self {
        let me = Member::current();
        Self { id: me.tid, barriers: me.has_barriers() }
    }

    pub(crate) fn try_fast() -> Option<Self> {
        Some(Self::get()).filter(|thread| thread.barriers)
    }

    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        Self::try_fast()
    }

    pub(crate) fn list(&self) -> Option<&Head> {
        // SAFETY: the thread-local value stays in place until the thread has ended. In the checks, `self` does not outlive its thread.
        LIST.with(|list| Some(unsafe { &*ptr::from_ref(list) }))
    }

    pub(crate) fn identity_list(&self) -> &Head {
        // SAFETY: as in `list`.
        IDENTITY_LIST.with(|list| unsafe { &*ptr::from_ref(list) })
    }

    pub(crate) fn is_full(&self) -> bool {
        let _ = self;
        false
    }
}
