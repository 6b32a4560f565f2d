//! The work of a worker until it is killed or stopped: critical sections, allocating and freeing.

use std::fs;
use std::hint::spin_loop;
use std::process;
use std::thread;
use std::time::Instant;

use lock_core::{Capabilities, Cause, Deadlines, ErrorKind, Guard, Labels, Lock, OwnerDeath, Result, Store, Tokens};

use super::audit_log::{AuditLog, Mark, slot};
use super::{BOUND, CHURNED, INSPECTOR, LOCKS, WITNESS};
use crate::shared_memory::{Place, Wrong};

/// A worker process or the inspector.
pub(super) struct Worker<'a> {
    pub(super) log: &'a AuditLog,
    pub(super) claims: Capabilities,
    pub(super) store: &'a Store,
    pub(super) locks: &'a [Lock],
    pub(super) number: usize,
    pub(super) mark: Mark,
    /// Whether workers are in several PID namespaces.
    several: bool,
}

/// How a lock is acquired.
#[derive(Clone, Copy)]
pub(super) enum How {
    Wait,
    WaitFor,
    Try,
}

impl<'a> Worker<'a> {
    /// Creates the worker that this process runs.
    pub(super) fn new(
        log: &'a AuditLog,
        claims: Capabilities,
        store: &'a Store,
        locks: &'a [Lock],
        serial: u32,
        several: bool,
    ) -> Self {
        let mark = Mark::new(serial, pid_in_the_drivers_namespace());
        Self { log, claims, store, locks, number: mark.worker(), mark, several }
    }

    /// Runs the worker or, for the inspector's index, the inspection.
    pub(super) fn work(&self) {
        if self.number == INSPECTOR { self.inspect() } else { self.run() }
    }

    /// Runs until the driver stops the workers. Every other worker has two threads.
    fn run(&self) {
        thread::scope(|scope| {
            if self.number % 2 == 1 {
                scope.spawn(|| self.run_thread(1));
            }
            self.run_thread(0);
        });
    }

    fn run_thread(&self, thread: usize) {
        let mut round = self.mark.serial() as usize + thread * LOCKS / 2;
        while !self.log.memory.is_stopped() {
            let how = match round % 7 {
                _ if self.number == WITNESS => How::Wait,
                0 => How::Try,
                1 | 2 if self.claims.deadlines == Deadlines::Monotonic => How::WaitFor,
                _ => How::Wait,
            };
            // Each worker has a different order, so that workers do not follow each other.
            self.section(thread, (round * 5 + round / LOCKS) % LOCKS, how, round);
            if round.is_multiple_of(4) {
                self.churn(round);
            }
            round += 1;
        }
    }

    /// Executes a critical section; see [`Place::add_one`].
    pub(super) fn section(&self, thread: usize, number: usize, how: How, round: usize) {
        let (lock, start) = (&self.locks[number], Instant::now());
        self.log.waits(self.number, thread, Some(number));
        let guard = match how {
            How::Wait => lock.lock().map(Some),
            How::WaitFor => lock.try_lock_for(BOUND).map(Some),
            How::Try => lock.try_lock(),
        };
        self.log.waits(self.number, thread, None);
        let mut guard = match guard {
            Ok(Some(guard)) => guard,
            Ok(None) => return,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut) => return self.log.lost(&error.to_string()),
            Err(error) => return self.log.note(number, Wrong::Failed, &error.to_string()),
        };
        self.log.waited(start.elapsed());
        let place = self.log.memory.place(number);
        self.enter(number, place, &guard);
        if let Err(error) = guard.mark_consistent() {
            self.log.note(number, Wrong::Failed, &error.to_string());
        }
        place.add_one(slot(self.number, thread), || {
            (0..round % 64).for_each(|_| spin_loop());
            // Yields sometimes, so that another worker would enter if the lock did not exclude it.
            if round.is_multiple_of(8) {
                thread::yield_now();
            }
        });
        if Mark::inside(place) != Some(self.mark) {
            self.log.note(number, Wrong::TwoInside, &format!("its mark became {:?}", Mark::inside(place)));
        }
        place.leave();
        if let Err(error) = guard.unlock() {
            self.log.note(number, Wrong::Failed, &error.to_string());
        }
    }

    /// Leaves the worker's mark, checks the guard's report and completes a dead owner's section.
    ///
    /// The report must agree with the mark that the previous owner left.
    fn enter(&self, number: usize, place: Place, guard: &Guard<'_>) {
        let (log, before) = (self.log, Mark::inside(place));
        place.enter(self.mark);
        if let Some(before) = before.filter(|before| log.is_alive(*before)) {
            log.note(number, Wrong::TwoInside, &format!("{before:?}"));
        }
        // `seen` kills were counted when this lock was last acquired. Later owners died in a kill from that number on.
        let seen = log.exchange_seen(number);
        let told = guard.recovered().map(|death| death.holder.as_ref().map(|holder| holder.pid).filter(|pid| *pid != 0));
        match told {
            None if before.is_some() && self.claims.owner_death == OwnerDeath::Reported => {
                log.note(number, Wrong::Untold, &format!("{before:?}"));
            }
            // With several PID namespaces, several workers have this pid.
            Some(Some(1)) if self.several => {}
            Some(Some(pid)) if before.is_none_or(|before| before.pid() != pid) => {
                // The owner may have died before it left its mark, or after it removed it.
                let kill = log.last_kill_of(pid);
                if kill == 0 || kill < seen {
                    let wrong = if before.is_some() { Wrong::Misnamed } else { Wrong::Invented };
                    log.note(
                        number,
                        wrong,
                        &format!("the report names {pid} (kill {kill}, {seen} seen before), mark {before:?}"),
                    );
                }
            }
            Some(None) if log.kills() == 0 => log.note(number, Wrong::Invented, "an unknown process"),
            Some(None) => log.unnamed(),
            _ => {}
        }
        if let Some(death) = guard.recovered()
            && !matches!(death.cause, Cause::Unknown | Cause::ProcessEnded)
        {
            log.note(number, Wrong::Cause, &death.to_string());
        }
        if told.is_some() || before.is_some() {
            place.note_death();
        }
        if before.is_some() {
            place.repair();
        }
        if self.claims.tokens == Tokens::Fencing {
            let last = place.exchange_token(guard.token());
            if last >= guard.token() {
                log.note(number, Wrong::Token, &format!("{:?} after {last:?}", guard.token()));
            }
        }
    }

    /// Allocates and frees ids.
    ///
    /// An id with two owners at a time is a violation, which the words of that id show.
    fn churn(&self, round: usize) {
        let label = if self.claims.labels == Labels::Kept { CHURNED } else { "" };
        let lock = match self.store.allocate(label) {
            Ok(lock) => lock,
            Err(error) if matches!(error.kind(), ErrorKind::Exhausted) => return self.collect(),
            Err(error) => return self.log.note(0, Wrong::Failed, &error.to_string()),
        };
        self.log.allocated();
        let number = lock.id().index();
        let place = self.log.memory.place(number);
        if let Some(other) = Mark::inside(place) {
            self.log.note(number, Wrong::TwoInside, &format!("the id belonged to {other:?}"));
        }
        place.enter(self.mark);
        if round.is_multiple_of(8) {
            thread::yield_now();
        }
        if Mark::inside(place) != Some(self.mark) {
            self.log.note(number, Wrong::TwoInside, &format!("the owner of its id became {:?}", Mark::inside(place)));
        }
        place.leave();
        if let Err(error) = lock.free() {
            self.log.note(number, Wrong::Failed, &error.to_string());
        }
    }

    /// Frees the ids of dead workers. Only the witness does this, because it is not killed meanwhile.
    fn collect(&self) {
        if self.number == WITNESS {
            for number in LOCKS..self.log.memory.places() {
                let place = self.log.memory.place(number);
                if Mark::inside(place).is_some_and(|mark| self.log.is_gone(mark)) {
                    place.leave();
                    if let Err(error) = self.free(number) {
                        self.log.note(number, Wrong::Failed, &error.to_string());
                    }
                }
            }
        }
    }

    fn free(&self, number: usize) -> Result<()> {
        self.store.free(number as u32)
    }
}

/// Returns the pid of this process in the namespace of `/proc`, which is the driver's.
fn pid_in_the_drivers_namespace() -> u32 {
    let link = fs::read_link("/proc/self").ok();
    link.and_then(|link| link.to_str()?.parse().ok()).unwrap_or_else(process::id)
}
