//! The lock of the table.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::{Hot, Owner, Table};
use crate::{Acquired, Cause, Condition, Death, Generation, Holder, Recovery, Result};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    table: &'static Table,
    hot: &'static Hot,
    death: &'static AtomicU64,
}

impl Slot {
    pub(super) fn new(table: &'static Table, hot: &'static Hot, death: &'static AtomicU64) -> Self {
        Self { table, hot, death }
    }

    pub(crate) fn table(&self) -> &Table {
        self.table
    }

    pub(crate) fn hot(&self) -> &Hot {
        self.hot
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation::new(1)
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        None
    }

    pub(crate) fn me(&self, _: u32) -> Result<Owner> {
        self.table.me()
    }

    pub(crate) fn me_at_home(&self, _: u32) -> Option<Owner> {
        self.table.me_at_home()
    }

    pub(crate) fn is_owned_at_home_by(&self, _: u32) -> bool {
        Some(self.hot.owner()) == self.table.me_at_home()
    }
}

#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
mod copies {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/slot.rs"));
}
