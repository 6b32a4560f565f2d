//! The line of a lock.

use std::mem::offset_of;

use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicU32, AtomicU64, compiler_fence};
use crate::table::Owner;

include!(concat!(env!("OUT_DIR"), "/hot.rs"));

/// What its words are called, and whether only the owner ever looks at them.
pub(crate) const WORDS: [(&str, usize, bool); 9] = [
    ("word", offset_of!(Hot, word), false),
    ("waiters", offset_of!(Hot, waiters), false),
    ("token", offset_of!(Hot, token), true),
    ("owner", offset_of!(Hot, owner), false),
    ("prev", offset_of!(Hot, prev), true),
    ("next", offset_of!(Hot, next), true),
    ("spare[0]", offset_of!(Hot, spare), false),
    ("spare[1]", offset_of!(Hot, spare) + 8, false),
    ("spare[2]", offset_of!(Hot, spare) + 16, false),
];

impl Hot {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU32::default(),
            waiters: AtomicU32::default(),
            token: AtomicU64::default(),
            owner: AtomicU64::default(),
            prev: AtomicU64::default(),
            next: AtomicU64::default(),
            spare: Default::default(),
        }
    }
}
