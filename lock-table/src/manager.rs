use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::lock_line::Hot;
use crate::slot::Slot;

use crate::owner::Owner;

use crate::table::Table;
use lock_core::{
    Allocation, Capabilities, Capacity, DeathReports, Error, Generation, Generations, HeldLock, Holders, Label, Labels, LockId,
    Manager, RawLock, Reconcile, Reconciled, Reentry, Removal, Result, StoreId, Tokens,
};

/// What a backend adds to a table: locks.
pub trait TableLocks: Send + Sync + fmt::Debug {
    /// The lock of this slot.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, slot: Slot) -> Result<Arc<dyn RawLock>>;

    /// Whether a lock is held that has this owner written down, who lives or is dead, as far as its line tells.
    fn is_held(&self, hot: &Hot, owner: Owner, lives: bool) -> bool {
        let _ = (hot, owner);
        lives
    }

    /// How many wait for a lock that is held, where the backend knows.
    fn waiters(&self, id: LockId) -> Option<u32> {
        let _ = id;
        None
    }

    /// Takes the lock from its owner, dead or alive.
    ///
    /// # Errors
    /// Refused by backends that recover by themselves.
    fn break_lock(&self, slot: &Slot) -> Result<()> {
        let _ = slot;
        Err(Error::unsupported("it recovers from the death of an owner by itself; there is nothing to break"))
    }

    /// Facts beyond the table's, for people to read.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Removes what the locks have outside the table; called before the table is removed.
    ///
    /// # Errors
    /// What the system says.
    fn destroy(&self) -> Result<()> {
        Ok(())
    }

    /// Removes what may only go when the store is gone: called after the table was removed, and nobody can open it any more.
    ///
    /// # Errors
    /// What the system says.
    fn destroyed(&self) -> Result<()> {
        Ok(())
    }
}

/// What a store on a table can claim whatever its locks are.
pub const CLAIMS: Capabilities = Capabilities::least()
    .reentry(Reentry::Refused)
    .holders(Holders::Named)
    .labels(Labels::Kept)
    .generations(Generations::Counted)
    .tokens(Tokens::Fencing)
    .death_reports(DeathReports::UntilConsistent)
    .reconcile(Reconcile::Supported)
    .capacity(Capacity::Chosen)
    .removal(Removal::Supported);

/// A [`Manager`] whose ids are in a [`Table`] and whose locks are a backend's.
#[derive(Debug)]
pub struct TableManager<L> {
    table: Arc<Table>,
    locks: L,
}

impl<L: TableLocks> TableManager<L> {
    /// The manager of this table with these locks.
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

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.table.check_now_and_then()?;
        self.locks.lock(self.table.slot(id)?)
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        self.table.allocate(label)
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.table.allocate_exact(id, label)
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

    fn reconcile(&self, ids: &BTreeSet<LockId>) -> Result<Reconciled> {
        self.table.reconcile(ids)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        let mut held = Vec::new();
        // Many are often held by one process, and asking whether it lives is a system call.
        let mut asked = (Owner::NONE, false);
        self.table.owned(|id, hot, owner| {
            if asked.0 != owner.process() {
                asked = (owner.process(), !self.table.is_dead(owner));
            }
            if self.locks.is_held(hot, owner, asked.1) {
                let mut lock = HeldLock::new(id, Some(self.table.describe(owner)));
                lock.waiters = self.locks.waiters(id);
                held.push(lock);
            }
        })?;
        Ok(held)
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
