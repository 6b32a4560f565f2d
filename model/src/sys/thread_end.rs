//! The end of a thread.

use std::ptr;

use super::mark::mark_list;

/// A scenario says where its threads end.
pub(super) fn mark_at_end() {}

/// Does what the library does at the end of the calling thread.
pub(crate) fn end_thread() {
    mark_list(ptr::null_mut());
}
