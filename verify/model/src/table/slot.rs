//! A lock of the table.

#[allow(dead_code, unreachable_pub, reason = "the model does not call all of it")]
#[path = "../lock-table/slot/ownership.rs"]
mod ownership;

use std::marker::PhantomData;
use std::time::Duration;

use real_core::{Generation, HeldBy, Holder, Result};

use crate::{Acquired, Deadline};

use super::Table;
use crate::env::{self, AtomicU64};
use crate::lock_line::LockLine;
use crate::owner::Owner;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    table: &'static Table,
    line: &'static LockLine,
    death: &'static AtomicU64,
}

impl Slot {
    pub(crate) fn new(table: &'static Table, line: &'static LockLine, death: &'static AtomicU64) -> Self {
        Self { table, line, death }
    }

    pub(crate) fn table(&self) -> &Table {
        self.table
    }

    pub(crate) fn line(&self) -> &LockLine {
        self.line
    }

    fn death(&self) -> &AtomicU64 {
        self.death
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation::new(1)
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        None
    }

    pub(crate) fn held_by(&self) -> HeldBy {
        HeldBy::unknown("the model records none")
    }

    pub(crate) fn current_owner(&self, _: u32) -> Result<Owner> {
        self.table.current_owner()
    }

    pub(crate) fn current_owner_at_home(&self, _: u32) -> Option<Owner> {
        self.table.current_owner_at_home()
    }

    pub(crate) fn is_owned_at_home_by(&self, _: u32) -> bool {
        Some(self.line.owner()) == self.table.current_owner_at_home()
    }

    pub(crate) fn waiting(&self) -> Waiting<'_> {
        env::begin_wait();
        Waiting(PhantomData)
    }

    pub(crate) fn waiters(&self) -> Option<u32> {
        None
    }

    pub(crate) fn wait_in_slices(
        &self,
        next: &mut dyn FnMut() -> Option<Deadline>,
        acquire: impl Fn(Deadline, &mut Waiting<'_>) -> Result<Acquired>,
    ) -> Result<Acquired> {
        match next() {
            Some(deadline) => acquire(deadline, &mut self.waiting()),
            None => Ok(Acquired::TimedOut),
        }
    }
}

/// A wait. Its record does not affect the lock, so the model has none.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(PhantomData<&'a Slot>);

impl Waiting<'_> {
    pub(crate) fn begin(&mut self, _: Owner) {}

    /// Returns no time if the thread is starved, and otherwise a time that limits no sleep.
    pub(crate) fn patience(&self) -> Duration {
        if env::is_starved() { Duration::ZERO } else { Duration::MAX }
    }
}
