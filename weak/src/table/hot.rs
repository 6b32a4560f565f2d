//! The line of a lock.
#![allow(dead_code, unreachable_pub, reason = "most of it is a copy")]

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, compiler_fence};

use super::Owner;

include!(concat!(env!("OUT_DIR"), "/hot.rs"));

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
