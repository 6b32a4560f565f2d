//! Locks that the kernel does not look after. They are linked into a list of their own.

use super::head::Head;
use super::list::{link, unlink};
use crate::lock_line::Hot;

pub(crate) fn link_identity(list: &Head, hot: &Hot) {
    link(list, hot);
}

pub(crate) fn unlink_identity(list: &Head, hot: &Hot) {
    unlink(list, hot);
}

/// No thread changes what says that a lock is another's.
pub(crate) fn forget(_: &Hot) {}
