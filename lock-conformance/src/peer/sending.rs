//! Commands that acquire locks for the process and release them in any thread.

use std::collections::HashMap;
use std::mem;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use lock_core::{Result, SendGuard};

use super::acquire::duration;
use super::reports::panic_with;
use super::worker::Worker;
use crate::protocol::Fields;

/// The guards that the threads of a process share, by lock.
pub(super) type SendGuards = HashMap<String, SendGuard<'static>>;

impl Worker {
    pub(super) fn send_or_receive(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("lock_send", [lock]) => self.acquire_send(lock, |worker| worker.handle(lock)?.lock_send().map(Some)),
            ("try_lock_send", [lock]) => self.acquire_send(lock, |worker| worker.handle(lock)?.try_lock_send()),
            ("find_busy_send", [lock]) => self.acquire_send(lock, |worker| worker.try_send_or_time_out(lock)),
            ("lock_send_for", [lock, span]) => {
                self.acquire_send(lock, |worker| worker.handle(lock)?.try_lock_send_for(duration(span)).map(Some))
            }
            // The handle is dropped before the guard, which has its own reference.
            ("lock_send_owned", [lock]) => self.acquire_send(lock, |worker| {
                let handle = worker.handle(lock)?.clone();
                handle.lock_send_owned().map(Some)
            }),
            ("unlock_send", [lock]) => self.send_guard(lock).unlock().map(|()| Fields::new()),
            ("release_send", [lock]) => {
                drop(self.send_guard(lock));
                Ok(Fields::new())
            }
            ("check_send", [lock]) => {
                let guard = self.send_guard(lock);
                let checked = guard.check();
                self.send_guards().insert((*lock).to_owned(), guard);
                checked.map(|()| Fields::new())
            }
            ("mark_send", [lock]) => {
                let mut guard = self.send_guard(lock);
                let marked = guard.mark_consistent();
                self.send_guards().insert((*lock).to_owned(), guard);
                marked.map(|()| Fields::new())
            }
            ("panic_send", [lock]) => {
                panic_with(self.send_guard(lock));
                Ok(Fields::new())
            }
            ("leak_send", [lock]) => {
                mem::forget(self.send_guard(lock));
                Ok(Fields::new())
            }
            _ => return None,
        })
    }

    fn acquire_send(&mut self, lock: &str, take: impl FnOnce(&Self) -> Result<Option<SendGuard<'static>>>) -> Result<Fields> {
        let (guard, fields) = self.timed(take)?;
        if let Some(guard) = guard {
            self.send_guards().insert(lock.to_owned(), guard);
        }
        Ok(fields)
    }

    /// As [`Worker::try_or_time_out`], for the process.
    fn try_send_or_time_out(&self, lock: &str) -> Result<Option<SendGuard<'static>>> {
        let handle = self.handle(lock)?;
        self.or_time_out(handle.try_lock_send()?, || handle.try_lock_send_for(Duration::ZERO))
    }

    fn send_guard(&self, lock: &str) -> SendGuard<'static> {
        self.send_guards().remove(lock).unwrap_or_else(|| panic!("the process has no guard of {lock}"))
    }

    fn send_guards(&self) -> MutexGuard<'_, SendGuards> {
        self.peer.send_guards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
