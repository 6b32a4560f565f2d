//! The state of a lock: its ownership word in the table and its semaphore.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use lock_core::{Acquired, PerProcess, Result};
use lock_table::{LockLine, Owner, Slot};

use super::gate::ProcessGate;
use super::location::SetLocation;
use super::ownership::Ownership;
use super::semaphore::Semaphore;

/// A lock: an ownership word in the table, which decides, and a semaphore, which wakes waiters.
///
/// # Protocol
/// - **Gate.** One thread of a process at a time uses the semaphore: it is inside the [`ProcessGate`] from its first attempt
///   until it has given the unit back. So the kernel's undo state of the process is that of one thread.
/// - **Acquisition and release.** The semaphore has one unit when the lock is free. A process takes the unit with undo, and then
///   exchanges the ownership word. It may do that when the lock is not held or the owner is proven dead. To release the lock, the
///   owner marks the ownership as released, and then gives the unit back. When an owner dies, the kernel gives its unit back.
/// - **A unit is no proof.** The kernel also gives a unit back when an owner leaves its IPC namespace (`unshare`), and any
///   program of the user may set the value. A thread that has a unit of a held lock waits until the lock is released or the owner
///   is proven dead. After 80 ms it destroys the unit, because the owner will give another one.
/// - **Takeover.** A process keeps its unit when it executes another program, so no other process gets one. A thread that finds a
///   dead owner takes the lock over: it exchanges the ownership word, which begins a new *term*, and then *arms* the semaphore.
///   Arming sets the value, which clears the undo adjustments of all processes, and takes the unit. So the later end of the
///   executed program has no effect. A new lock is acquired in the same way, and so is a lock that was free for
///   [`MISSING`](super::recovery::MISSING) without a unit.
/// - **Terms.** Only the owner of a lock that is not armed sets the value. So a unit that was taken in a term stays valid in that
///   term. A thread that took a unit in an earlier term checks with the kernel whether the unit was cleared
///   ([`Semaphore::is_taken_by_us`]).
/// - **No access to the set.** An owner that cannot give the unit back leaves the lock not armed. It may be in another IPC
///   namespace, or have changed to a user that may not change the set.
/// - **Destroyed store.** When the set was removed with its store, handles exclude each other by the ownership word alone, and
///   poll it every 200 ms.
#[derive(Debug)]
pub(crate) struct SysvLock {
    pub(super) slot: Slot,
    pub(super) location: Arc<SetLocation>,
    pub(super) semaphore: Semaphore,
    gate: PerProcess<Arc<ProcessGate>>,
}

impl SysvLock {
    pub(crate) fn new(slot: Slot, location: Arc<SetLocation>, semaphore: Semaphore) -> Self {
        Self { slot, location, semaphore, gate: PerProcess::new() }
    }

    /// Returns this process's gate for the lock.
    ///
    /// The first call in a process checks that it is in the IPC namespace of the set.
    #[inline]
    pub(super) fn gate(&self) -> Result<&ProcessGate> {
        let gate = self.gate.get_or_try_init(|| {
            self.location.check()?;
            let table = self.slot.table();
            ProcessGate::of(table.id(), table.device_and_inode(), self.slot.id())
        })?;
        Ok(gate)
    }

    #[inline]
    pub(super) fn ownership(&self) -> Ownership {
        Ownership::from_word(ownership_word(self.slot.line()).load(Acquire))
    }

    #[inline]
    pub(super) fn exchange(&self, old: Ownership, new: Ownership) -> bool {
        ownership_word(self.slot.line()).compare_exchange(old.word(), new.word(), AcqRel, Acquire).is_ok()
    }

    /// Stores an ownership. Only the owner may call this.
    #[inline]
    pub(super) fn store(&self, ownership: Ownership) {
        ownership_word(self.slot.line()).store(ownership.word(), Release);
    }

    /// Makes `me` the owner if the lock is free and still in the term of `before`.
    ///
    /// The caller took the unit while the ownership was `before`.
    #[inline]
    pub(super) fn acquire_if_free(&self, me: Owner, before: Ownership) -> Option<Acquired> {
        let now = self.ownership();
        let free = now.is_armed() && !now.is_held() && now.is_of_same_term(before);
        (free && self.exchange(now, now.acquired_by(me))).then(|| self.slot.record_owner(me))
    }
}

fn ownership_word(line: &LockLine) -> &AtomicU64 {
    &line.spare[0]
}
