//! Commands of threads that contend for a lock: a busy thread, which acquires the lock again as soon as it has released it, and a thread
//! that waits beside it.

use std::thread::sleep;
use std::time::Duration;

use lock_core::{Cancellation, Guard, Lock, Result, WaitOptions};

use super::acquire::{death_report, duration};
use super::loops::{number, shared};
use super::worker::Worker;
use crate::protocol::{Fields, list};
use crate::shared_memory::SharedMemory;
use crate::sys;
use crate::usage::monotonic_time;

/// The pause of a thread that waits for a step of another one, and of an attempt that found the lock busy.
const PAUSE: Duration = Duration::from_micros(100);

/// Makes the scheduler let a thread that wakes the calling one go on, as on a machine with an idle processor.
///
/// A waiter that preempts the releasing thread would acquire the lock of an unfair backend. Without the permission the case is weaker.
fn preempt_no_thread() {
    let _ = sys::preempt_no_thread();
}

impl Worker {
    pub(super) fn contend(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("occupy", [memory, slot, lock, rounds, hold]) => {
                self.occupy(|lock| lock.lock().map(Some), shared(memory), number(slot), lock, number(rounds), duration(hold))
            }
            ("occupy_by_attempts", [memory, slot, lock, rounds, hold]) => {
                self.occupy(Lock::try_lock, shared(memory), number(slot), lock, number(rounds), duration(hold))
            }
            ("wait_beside", [memory, slot, lock, waits]) => {
                self.wait_beside(Lock::lock, shared(memory), number(slot), lock, number(waits))
            }
            ("wait_with_deadline_beside", [memory, slot, lock, waits, span]) => {
                let span = duration(span);
                self.wait_beside(|lock| lock.try_lock_for(span), shared(memory), number(slot), lock, number(waits))
            }
            ("wait_with_cancellation_beside", [memory, slot, lock, waits]) => {
                let cancellation = Cancellation::new();
                let options = || WaitOptions::new().cancellation(&cancellation);
                self.wait_beside(|lock| lock.lock_with(options()), shared(memory), number(slot), lock, number(waits))
            }
            ("unlock_and_lock", [lock]) => self.release_and_acquire(lock, |lock| lock.lock().map(Some)),
            ("unlock_and_try", [lock]) => self.release_and_acquire(lock, Lock::try_lock),
            _ => return None,
        })
    }

    /// Acquires the lock, counts the acquisition in this slot, holds the lock, releases it, and does so again immediately.
    ///
    /// Ends after this many rounds, and stops the other threads then, or when another thread stops it. Answers the number of rounds.
    fn occupy(
        &self,
        acquire: fn(&'static Lock) -> Result<Option<Guard<'static>>>,
        memory: SharedMemory,
        slot: usize,
        lock: &str,
        rounds: usize,
        hold: Duration,
    ) -> Result<Fields> {
        let (lock, place) = (self.handle(lock)?, memory.place(0));
        preempt_no_thread();
        self.begin();
        memory.wait_for_go();
        let mut round = 0;
        while round < rounds && !memory.is_stopped() {
            let Some(guard) = acquire(lock)? else {
                sleep(PAUSE);
                continue;
            };
            place.add_one(slot, || {});
            sleep(hold);
            guard.unlock()?;
            round += 1;
        }
        memory.stop();
        Ok(Fields::new().with("rounds", round))
    }

    /// Waits for the lock while the thread of this slot holds it, as often as given, and stops that thread.
    ///
    /// Answers for each wait how often the other thread acquired the lock from its begin to its end. A wait that ends after the other thread
    /// has ended is not counted.
    fn wait_beside(
        &self,
        acquire: impl Fn(&'static Lock) -> Result<Guard<'static>>,
        memory: SharedMemory,
        slot: usize,
        lock: &str,
        waits: usize,
    ) -> Result<Fields> {
        let (lock, place) = (self.handle(lock)?, memory.place(0));
        preempt_no_thread();
        self.begin();
        memory.wait_for_go();
        let (mut seen, mut overtaken) = (0, Vec::new());
        while overtaken.len() < waits && !memory.is_stopped() {
            let before = place.done_by(slot);
            if before == seen {
                sleep(PAUSE);
                continue;
            }
            let guard = acquire(lock)?;
            seen = place.done_by(slot);
            guard.unlock()?;
            if !memory.is_stopped() {
                overtaken.push(u32::try_from(seen - before).unwrap_or(u32::MAX));
            }
        }
        memory.stop();
        Ok(Fields::new().with("overtaken", list(overtaken)))
    }

    /// Releases the lock and acquires it immediately.
    fn release_and_acquire(
        &mut self,
        lock: &str,
        acquire: impl FnOnce(&'static Lock) -> Result<Option<Guard<'static>>>,
    ) -> Result<Fields> {
        let (handle, held) = (self.handle(lock)?, self.guard(lock));
        self.begin();
        held.unlock()?;
        let acquired = acquire(handle)?;
        let at = monotonic_time().as_nanos();
        let Some(guard) = acquired else { return Ok(Fields::new().with("busy", "")) };
        let fields = death_report(&guard).with("at", at);
        self.guards.insert(lock.to_owned(), guard);
        Ok(fields)
    }
}
