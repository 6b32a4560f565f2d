//! The record of the calling thread's wait.

use std::cell::OnceCell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Slot;
use crate::fork;
use crate::owner::Owner;
use crate::waiters::{PATIENCE, WaitRecord, now};
use lock_core::{Acquired, Deadline, Result};

/// A wait of the calling thread for a lock. Other processes list it from [`Waiting::begin`] until this is dropped.
#[derive(Debug)]
pub struct Waiting<'a> {
    slot: &'a Slot,
    recorded: OnceCell<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    wait: WaitRecord,
    /// The slot of the waiter table, or `None` if none could be claimed.
    slot: Option<usize>,
    /// The fork epoch of the process that waits.
    epoch: u64,
}

impl Slot {
    /// Returns the wait of the calling thread for this lock, which has not begun.
    #[inline]
    pub fn waiting(&self) -> Waiting<'_> {
        Waiting { slot: self, recorded: OnceCell::new() }
    }

    /// Returns the number of threads that wait for this lock, or `None` if the file was truncated.
    pub fn waiters(&self) -> Option<u32> {
        self.table().waiters_of(self.id)
    }

    /// Calls `acquire` for each slice of a wait, with the deadline of the slice, until it acquires the lock or returns an error.
    ///
    /// The wait is recorded as one. `next` is that of [`RawLock::acquire_in_slices`](lock_core::RawLock::acquire_in_slices).
    ///
    /// # Errors
    /// Those of `acquire`.
    pub fn wait_in_slices(
        &self,
        next: &mut dyn FnMut() -> Option<Deadline>,
        acquire: impl Fn(Deadline, &mut Waiting<'_>) -> Result<Acquired>,
    ) -> Result<Acquired> {
        let mut waiting = self.waiting();
        while let Some(deadline) = next() {
            let acquired = acquire(deadline, &mut waiting)?;
            if acquired != Acquired::TimedOut {
                return Ok(acquired);
            }
        }
        Ok(Acquired::TimedOut)
    }
}

impl Waiting<'_> {
    /// Returns the time until the thread has waited for a millisecond, which is zero from then on.
    ///
    /// A thread that has waited for that long is *starved*: backends serve it before threads that come later.
    #[inline]
    pub fn patience(&self) -> Duration {
        self.recorded().map_or(PATIENCE, |wait| PATIENCE.saturating_sub(wait.waited(now())))
    }

    /// Records that the calling thread waits, unless it is recorded. The thread calls this before it sleeps.
    ///
    /// `me` is the owner word with the thread, also if the thread acquires the lock for its process.
    #[inline]
    pub fn begin(&self, me: Owner) {
        self.recorded.get_or_init(|| self.record(me));
    }

    /// Ends the time for which the wait is passed over. Returns the start of the wait, or `None` if no other thread can find it.
    pub(super) fn restore(&self) -> Option<u64> {
        let recorded = self.recorded.get()?;
        self.slot.table().waiter_table().restore(recorded.slot?);
        Some(recorded.wait.start)
    }

    /// Returns the record, or `None` before the wait has begun.
    pub(super) fn recorded(&self) -> Option<&WaitRecord> {
        self.recorded.get().map(|recorded| &recorded.wait)
    }

    #[cold]
    #[inline(never)]
    fn record(&self, thread: Owner) -> Recorded {
        let table = self.slot.table();
        // The token is read first: its owner has acquired the lock before the start.
        let token = self.slot.line().token();
        let start = now();
        let wait = WaitRecord { thread, id: self.slot.id, start, token };
        let slot = table.waiter_table().record(&wait, |other| table.is_gone(other));
        if slot.is_none() {
            table.state().unrecorded.store(start, Relaxed);
        }
        Recorded { wait, slot, epoch: fork::epoch() }
    }
}

impl Drop for Waiting<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(recorded) = self.recorded.get() {
            recorded.end(self.slot);
        }
    }
}

impl Recorded {
    #[cold]
    #[inline(never)]
    fn end(&self, lock: &Slot) {
        // A child that was forked during the wait, by a handler of a signal, leaves its parent's record.
        if self.epoch != fork::epoch() {
            return;
        }
        let table = lock.table();
        match self.slot {
            Some(slot) => table.waiter_table().free(slot, self.wait.thread),
            // Another thread may have failed later.
            None => _ = table.state().unrecorded.compare_exchange(self.wait.start, 0, Relaxed, Relaxed),
        }
    }
}
