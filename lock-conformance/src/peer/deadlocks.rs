//! Commands about threads that wait for each other.

use std::thread;

use lock_core::{Error, Lock, Result, WaitOptions};

use super::acquire::duration;
use super::cycle::with_cycle;
use super::loops::number;
use super::worker::Worker;
use crate::protocol::Fields;

impl Worker {
    pub(super) fn refuse_or_list(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("lock_refusing", [lock]) => {
                self.acquire(lock, |worker| worker.handle(lock)?.lock_with(WaitOptions::new().refuse_deadlocks()).map(Some))
            }
            ("deadlocks", []) => self.store().deadlocks().map(|cycles| {
                let fields = Fields::new().with("cycles", cycles.len());
                cycles.first().map_or(fields.clone(), |cycle| with_cycle(fields, cycle))
            }),
            ("pairs", [first, second, turns, hold]) => self.acquire_pairs(first, second, number(turns), hold),
            _ => return None,
        })
    }

    /// Acquires two locks one after the other, and holds each for a time. Starts again if a wait is refused. Answers the number of refusals.
    fn acquire_pairs(&self, first: &str, second: &str, turns: usize, hold: &str) -> Result<Fields> {
        self.begin();
        let (first, second): (&Lock, &Lock) = (self.handle(first)?, self.handle(second)?);
        let (mut done, mut refusals) = (0, 0);
        while done < turns {
            let both = || {
                let _first = first.lock()?;
                thread::sleep(duration(hold));
                let _second = second.lock()?;
                thread::sleep(duration(hold));
                Ok(())
            };
            match both() {
                Ok(()) => done += 1,
                Err(error) if Error::is_deadlock(&error) => {
                    refusals += 1;
                    // Otherwise the thread may acquire its lock again before the waiter does.
                    thread::sleep(duration(hold));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Fields::new().with("refusals", refusals))
    }
}
