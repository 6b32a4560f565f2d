//! Commands about waiting threads.

use std::sync::OnceLock;
use std::thread;

use lock_core::{Cancellation, Result, WaitOptions, Waiter};

use super::loops::number;
use super::worker::Worker;
use crate::protocol::Fields;

/// Ends the waits of `lock_cancellable` in this process.
static CANCELLATION: OnceLock<Cancellation> = OnceLock::new();

/// The size of the stack of a thread of `crowd`.
const STACK: usize = 128 << 10;

impl Worker {
    pub(super) fn wait_or_list(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("waiting", []) => self.waiting(),
            ("lock_cancellable", [lock]) => {
                self.begin();
                let options = WaitOptions::new().cancellation(cancellation());
                self.handle(lock).and_then(|lock| lock.lock_owned_with(options)).map(|_| Fields::new())
            }
            ("cancel", []) => {
                cancellation().cancel();
                Ok(Fields::new())
            }
            ("crowd", [lock, count]) => self.crowd(lock, number(count)),
            _ => return None,
        })
    }

    /// Lists the waiting threads, each with its position as a suffix.
    fn waiting(&self) -> Result<Fields> {
        let waits = self.store().waiting()?;
        let fields = Fields::new().with("count", waits.waiters.len());
        let fields = match &waits.incomplete {
            Some(reason) => fields.with("incomplete", reason),
            None => fields,
        };
        Ok(waits.waiters.iter().enumerate().fold(fields, |fields, (at, waiter)| with_waiter(fields, at, waiter)))
    }

    /// Starts threads that acquire the lock and release it.
    fn crowd(&self, lock: &str, count: usize) -> Result<Fields> {
        let handle = self.handle(lock)?;
        for _ in 0..count {
            let spawned = thread::Builder::new().stack_size(STACK).spawn(|| drop(handle.lock()));
            spawned.expect("a thread can be started");
        }
        Ok(Fields::new())
    }
}

fn cancellation() -> &'static Cancellation {
    CANCELLATION.get_or_init(Cancellation::new)
}

fn with_waiter(fields: Fields, at: usize, waiter: &Waiter) -> Fields {
    let fields = fields
        .with(format!("id.{at}"), waiter.id)
        .with(format!("pid.{at}"), waiter.thread.pid)
        .with(format!("tid.{at}"), waiter.thread.tid)
        .with(format!("command.{at}"), &waiter.thread.command);
    match waiter.waited {
        Some(waited) => fields.with(format!("waited.{at}"), waited.as_nanos()),
        None => fields,
    }
}
