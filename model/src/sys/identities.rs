//! Locks with an identity number. They are linked into a separate list.

use super::head::Head;
use super::list::{link, unlink};
use crate::lock_line::Hot;

pub(crate) fn link_identity(list: &Head, hot: &Hot) {
    link(list, hot);
}

pub(crate) fn unlink_identity(list: &Head, hot: &Hot) {
    unlink(list, hot);
}

/// Does nothing, because no simulated thread overwrites the lock words of another.
pub(crate) fn forget(_: &Hot) {}
