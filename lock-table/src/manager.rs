use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::lock_line::LockLine;
use crate::owner::Owner;
use crate::segment::Pages;
use crate::slot::Slot;
use crate::table::Table;
use lock_core::{
    Allocation, Capabilities, Capacity, DeathReports, Error, Generation, Generations, Growth, GuardChecks, HeldLock, Holders,
    Label, Labels, LockId, Manager, Names, RawLock, Reconcile, Reconciled, Reentry, Removal, Result, StoreId, Temporary, Tokens,
    UnresolvedDeath, Waiters, Waits,
};

/// The locks of a table. A backend implements this trait.
///
/// Each method can return [`ErrorKind::System`](lock_core::ErrorKind::System) or [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when
/// a system call fails.
pub trait TableLocks: Send + Sync + UnwindSafe + RefUnwindSafe + fmt::Debug {
    /// Returns the lock of this slot.
    ///
    /// # Errors
    /// Those of every method.
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>>;

    /// Returns true if a lock with this recorded owner is held. `lives` is true if the owner is alive.
    fn is_held(&self, line: &LockLine, owner: Owner, lives: bool) -> bool {
        let _ = (line, owner);
        lives
    }

    /// Returns the token of the recorded owner that was read from this line before, or that of a later owner. `None` is unknown.
    fn token(&self, line: &LockLine) -> Option<u64> {
        Some(line.token())
    }

    /// Releases the lock on behalf of its owner, whether the owner is alive or dead.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) by backends that recover from the death of an owner.
    fn break_lock(&self, slot: &Slot) -> Result<()> {
        let _ = slot;
        Err(Error::unsupported("it recovers automatically from the death of an owner; acquire the lock instead of breaking it"))
    }

    /// Returns facts about the locks for display, each with a title and a value.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Removes the resources of the locks outside the table. Called before the table is removed.
    ///
    /// # Errors
    /// Those of every method.
    fn destroy(&self) -> Result<()> {
        Ok(())
    }

    /// Removes the resources of the locks that must exist until no process can open the store.
    ///
    /// Called after the table was removed.
    ///
    /// # Errors
    /// Those of every method.
    fn destroyed(&self) -> Result<()> {
        Ok(())
    }
}

/// The claims of a store on a table that do not depend on its locks.
pub const CLAIMS: Capabilities = Capabilities::minimal()
    .with_reentry(Reentry::Refused)
    .with_holders(Holders::Named)
    .with_waiters(Waiters::Named)
    .with_labels(Labels::Kept)
    .with_names(Names::Supported)
    .with_generations(Generations::Counted)
    .with_tokens(Tokens::Fencing)
    .with_death_reports(DeathReports::UntilConsistent)
    .with_reconcile(Reconcile::Supported)
    .with_capacity(Capacity::Chosen)
    .with_growth(Growth::Supported)
    .with_temporary(Temporary::Reclaimed)
    .with_removal(Removal::Supported)
    .with_guard_checks(GuardChecks::Supported);

/// A [`Manager`] with the ids of a [`Table`] and the locks of a backend.
#[derive(Debug)]
pub struct TableManager<L> {
    table: Arc<Table>,
    locks: L,
}

impl<L: TableLocks> TableManager<L> {
    /// Creates the manager of this table and these locks.
    pub fn new(table: Arc<Table>, locks: L) -> Self {
        Self { table, locks }
    }
}

impl<L: TableLocks> Manager for TableManager<L> {
    fn id(&self) -> StoreId {
        self.table.id()
    }

    fn check(&self) -> Result<()> {
        self.table.check()
    }

    fn capacity(&self) -> Option<u64> {
        self.table.capacity()
    }

    fn token_base(&self) -> u64 {
        self.table.created()
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.table.check_now_and_then()?;
        self.locks.lock(self.table.slot_unchecked(id)?)
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        self.table.allocate(label)
    }

    fn allocate_temporary(&self, label: &Label) -> Result<LockId> {
        self.table.allocate_temporary(label)
    }

    fn reclaim(&self) -> Result<Vec<LockId>> {
        self.table.reclaim(|line, owner| self.locks.is_held(line, owner, !self.table.is_dead(owner)))
    }

    fn grow(&self, capacity: Option<u64>) -> Result<()> {
        self.table.grow(capacity)
    }

    fn allocate_lock(&self, label: &Label) -> Result<(LockId, Arc<dyn RawLock>)> {
        let id = self.table.allocate(label)?;
        // The allocation has just checked the table.
        let lock = self.table.slot_unchecked(id).and_then(|slot| self.locks.lock(slot)).inspect_err(|_| {
            // The caller gets the first error.
            let _ = self.table.free(id, None);
        })?;
        Ok((id, lock))
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.table.allocate_exact(id, label)
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        self.table.named(name).map(|(id, generation)| (id, Some(generation)))
    }

    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.table.free(id, generation)
    }

    fn free_all(&self) -> Result<u64> {
        self.table.free_all()
    }

    fn available(&self) -> Result<Option<u64>> {
        self.table.available()
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.table.allocated()
    }

    fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        self.table.allocated_from(from, limit)
    }

    fn allocation(&self, id: LockId) -> Result<Option<Allocation>> {
        self.table.allocation(id)
    }

    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        self.table.reconcile(ids)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        self.held_from(LockId::new(0), usize::MAX)
    }

    fn held_from(&self, from: LockId, limit: usize) -> Result<Vec<HeldLock>> {
        let mut held = Vec::new();
        // Caches the state of the latest process: one process often holds many locks, and checking its state takes a system call.
        let mut checked = (Owner::NONE, false);
        let waits = self.table.recorded_waits()?;
        self.table.scan_owned(from, Pages::of_list(limit), |id, line, owner| {
            let token = self.locks.token(line);
            if checked.0 != owner.process() {
                checked = (owner.process(), !self.table.is_dead(owner));
            }
            if self.locks.is_held(line, owner, checked.1) {
                let mut lock = HeldLock::new(id, Some(self.table.describe(owner)));
                let (waiters, held_for_at_least) = waits.of(id, token);
                lock.waiters = Some(waiters);
                lock.held_for_at_least = held_for_at_least;
                held.push(lock);
            }
            if held.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(held)
    }

    fn deaths_from(&self, from: LockId, limit: usize) -> Result<Vec<UnresolvedDeath>> {
        let mut deaths = Vec::new();
        // Caches the state of the latest owner, as `held_from` does.
        let mut checked = (Owner::NONE, None);
        self.table.scan(from, Pages::of_list(limit), |id, line| {
            let owner = line.owner();
            if owner.is_none() {
                deaths.extend(self.table.recorded_death(id, owner));
            } else {
                if checked.0 != owner {
                    checked = (owner, self.table.death_of(owner, || !self.locks.is_held(line, owner, true)));
                }
                deaths.extend(checked.1.clone().map(|death| UnresolvedDeath::new(id, death)));
            }
            if deaths.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(deaths)
    }

    fn waiting(&self) -> Result<Waits> {
        self.table.waiting()
    }

    fn break_lock(&self, id: LockId) -> Result<()> {
        self.locks.break_lock(&self.table.slot(id)?)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let mut details = self.table.details();
        details.extend(self.locks.details());
        details
    }

    fn destroy(&self) -> Result<()> {
        self.locks.destroy()?;
        self.table.destroy()?;
        self.locks.destroyed()
    }
}
