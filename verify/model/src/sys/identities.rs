//! Locks with an identity number. They are linked into a separate list.

use super::head::Head;
use super::list::{link, unlink};
use crate::lock_line::LockLine;

pub(crate) fn link_identity(list: &Head, line: &LockLine) {
    link(list, line);
}

pub(crate) fn unlink_identity(list: &Head, line: &LockLine) {
    unlink(list, line);
}

/// Does nothing, because no simulated thread overwrites the lock words of another.
pub(crate) fn forget(_: &LockLine) {}
