//! One lock of the table.

use super::{Hot, Owner, Table};
use crate::scene::Memory;
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;
use crate::{Acquired, Cause, Condition, Death, Generation, Holder, Recovery, Result};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    table: &'static Table,
    hot: &'static Hot,
    death: &'static AtomicU64,
}

impl Slot {
    pub(crate) fn new(table: &'static Table, memory: &'static Memory, number: usize) -> Self {
        Self { table, hot: &memory.locks[number], death: &memory.deaths[number] }
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

#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
mod copies {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/slot.rs"));
}
