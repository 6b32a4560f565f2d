//! The waiting threads of a table.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::layout::{self, WAITERS, WAITERS_RANGE};
use crate::table::Table;
use crate::waiters::{WaitRecord, WaiterTable, now};
use lock_core::{LockId, Result, Waiter, Waits};

/// The recorded waits of a table at one time, by the id of their lock. Threads that have died since may be among them.
pub(crate) struct RecordedWaits<'a> {
    table: &'a Table,
    now: u64,
    waits: HashMap<LockId, Vec<WaitRecord>>,
}

impl Table {
    /// Returns the threads that wait for locks of the table. Reads only.
    ///
    /// A thread that is not proven dead counts. If a thread could not be recorded, the result says so.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the file was truncated;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System).
    pub fn waiting(&self) -> Result<Waits> {
        let recorded = self.recorded_waits()?;
        let now = recorded.now;
        let mut waits: Vec<_> = recorded.waits.into_values().flatten().filter(|wait| self.is_waiting(wait)).collect();
        waits.sort_by_key(|wait| wait.start);
        let waiter = |wait: WaitRecord| Waiter::new(wait.id, self.describe(wait.thread)).with_waited(Some(wait.waited(now)));
        Ok(Waits::new(waits.into_iter().map(waiter).collect(), self.unrecorded_wait(now)))
    }

    /// Returns the number of threads that wait for a lock, or `None` if the file was truncated.
    pub(crate) fn waiters_of(&self, id: LockId) -> Option<u32> {
        self.check_whole().ok()?;
        Some(self.waiter_table().records().filter(|wait| wait.id == id && self.is_waiting(wait)).count() as u32)
    }

    /// Reads the waiter table.
    ///
    /// # Errors
    /// As [`Table::waiting`].
    pub(crate) fn recorded_waits(&self) -> Result<RecordedWaits<'_>> {
        self.check_whole()?;
        let now = now();
        let mut waits: HashMap<_, Vec<_>> = HashMap::new();
        for wait in self.waiter_table().records() {
            waits.entry(wait.id).or_default().push(wait);
        }
        Ok(RecordedWaits { table: self, now, waits })
    }

    pub(crate) fn waiter_table(&self) -> WaiterTable<'_> {
        WaiterTable { words: &self.base[WAITERS_RANGE], backed: self.state().waiter_pages, file: &self.file }
    }

    /// Returns true if the thread of a record may be alive and has not acquired the lock.
    fn is_waiting(&self, wait: &WaitRecord) -> bool {
        // The thread frees its slot after it has acquired the lock. Here it may have been stopped before that.
        let (number, index) = layout::locate(wait.id);
        let exists = self.check_range(wait.id).is_ok() && self.has_segment(number);
        let line = exists.then(|| self.segment(number).ok()?.backed_line(index)).flatten();
        line.is_some_and(|line| line.owner() != wait.thread) && !self.is_gone(wait.thread)
    }

    /// Returns the reason why the list of waits may be incomplete.
    fn unrecorded_wait(&self, now: u64) -> Option<String> {
        let start = self.state().unrecorded.load(Relaxed);
        // A later time is from an earlier boot of the system.
        (start != 0 && start <= now).then(|| {
            let since = Duration::from_nanos(now - start).as_secs();
            format!(
                "a thread that began to wait {since} s ago may be missing: all {WAITERS} records were in use, or the file system had \
                 no room for more; make room in it"
            )
        })
    }
}

impl RecordedWaits<'_> {
    /// Returns the number of threads that wait for a lock, and how long its current owner has held the lock at least.
    ///
    /// A waiter that has seen the current token has waited for this owner alone. `token` was read after the waits. If it is `None`, the
    /// duration is unknown.
    pub(crate) fn of(&self, id: LockId, token: Option<u64>) -> (u32, Option<Duration>) {
        let Some(waits) = self.waits.get(&id) else { return (0, None) };
        let waits: Vec<_> = waits.iter().filter(|wait| self.table.is_waiting(wait)).collect();
        let longest = waits.iter().filter(|wait| Some(wait.token) == token).map(|wait| wait.waited(self.now)).max();
        (waits.len() as u32, longest)
    }
}
