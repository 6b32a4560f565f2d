//! Commands to mark a lock consistent, to panic, and to leak a guard.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use lock_core::{Deadline, Deadlines, ErrorKind, Guard, Lock, Result, Store};

use super::acquire::death_report;
use super::worker::{Worker, id_of};
use crate::protocol::Fields;

/// A lock to acquire and to release while the thread unwinds.
struct AcquiredByUnwinding<'a> {
    lock: &'a Lock,
    acquired: &'a mut Option<Result<Fields>>,
}

impl Worker {
    pub(super) fn report_or_mark(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("check_guard", [lock]) => self.guard_of(lock).check().map(|()| Fields::new()),
            ("valid_for", [lock]) => self.guard_of(lock).valid_for().map(|valid| match valid {
                Some(valid) => Fields::new().with("milliseconds", valid.as_millis()),
                None => Fields::new(),
            }),
            ("notice_loss", [lock]) => self.notice_loss(lock).map(|()| Fields::new()),
            ("was_lost", [lock]) => {
                let is_lost = self.losses.get(*lock).is_some_and(|lost| lost.load(SeqCst));
                Ok(if is_lost { Fields::new().with("lost", "") } else { Fields::new() })
            }
            ("mark_consistent", [lock]) => self.guard_of(lock).mark_consistent().map(|()| Fields::new()),
            ("panic", [lock]) => {
                let guard = self.guard(lock);
                panic_with(guard);
                Ok(Fields::new())
            }
            // The guards are kept.
            ("panic_inside", []) => {
                panic_with(());
                Ok(Fields::new())
            }
            ("lock_while_panicking", [lock]) => self.handle(lock).and_then(lock_while_panicking),
            ("panic_and_close", [url, lock]) => self.panic_and_close(url, lock),
            ("leak_and_reopen", [url, lock]) => self.leak_and_reopen(url, lock),
            _ => return None,
        })
    }

    fn guard_of(&mut self, lock: &str) -> &mut Guard<'static> {
        self.guards.get_mut(lock).unwrap_or_else(|| panic!("the thread {} has no guard of {lock}", self.name))
    }

    /// Records when the library tells that the lock was lost.
    fn notice_loss(&mut self, lock: &str) -> Result<()> {
        let lost = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&lost);
        self.guard_of(lock).on_lost(move || told.store(true, SeqCst))?;
        self.losses.insert(lock.to_owned(), lost);
        Ok(())
    }

    /// Acquires a lock and panics, with nothing else that keeps the store open.
    fn panic_and_close(&self, url: &str, lock: &str) -> Result<Fields> {
        let store = self.open("open", url)?;
        let handle = handle_of(&store, lock)?;
        let guard = handle.lock_owned()?;
        // Dropped in this order.
        panic_with((guard, handle, store));
        Ok(Fields::new())
    }

    /// Acquires a lock, leaks the guard, closes the store, opens it again, and tries the lock.
    fn leak_and_reopen(&mut self, url: &str, lock: &str) -> Result<Fields> {
        {
            let store = self.open("open", url)?;
            let handle = handle_of(&store, lock)?;
            // It borrows the handle, so that nothing keeps the store open.
            mem::forget(handle.lock()?);
        }
        let handle = handle_of(&self.open("open", url)?, lock)?;
        let has_deadlines = self.peer.suite.capabilities().deadlines != Deadlines::Unsupported;
        match handle.lock_by(if has_deadlines { Deadline::after(Duration::ZERO) } else { Deadline::Never }) {
            Ok(guard) => Ok(death_report(&guard)),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut) => Ok(Fields::new().with("busy", "")),
            Err(error) => Err(error),
        }
    }
}

/// Creates a handle.
pub(super) fn handle_of(store: &Store, lock: &str) -> Result<Lock> {
    if lock == "-" { store.single() } else { store.retrieve(id_of(lock)) }
}

/// Panics and drops the value while unwinding.
pub(super) fn panic_with<T>(value: T) {
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _value = value;
        panic!("a panic that the suite asked for");
    }));
    caught.expect_err("it panics");
}

fn lock_while_panicking(lock: &Lock) -> Result<Fields> {
    let mut acquired = None;
    panic_with(AcquiredByUnwinding { lock, acquired: &mut acquired });
    acquired.expect("the destructor ran")
}

impl Drop for AcquiredByUnwinding<'_> {
    fn drop(&mut self) {
        *self.acquired = Some(self.lock.lock().map(|guard| death_report(&guard)));
    }
}
