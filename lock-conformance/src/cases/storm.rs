//! Many processes that contend for many locks, and kills of their owners.

use std::path::PathBuf;
use std::time::Instant;

use super::{cases, nothing_went_wrong_in, start_sections_of};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Pending, Thread};
use crate::shared_memory::{KILLED, SharedMemory};

cases! { "storm";
    owners_are_killed_and_no_section_is_lost [PROCESSES RELEASED];
    anybody_is_killed_at_any_moment_and_no_section_is_lost [PROCESSES RELEASED];
}

const PROCESSES: usize = 4;
const LOCKS: usize = 2;

struct Storm<'a> {
    fixture: &'a Fixture,
    path: PathBuf,
    arena: SharedMemory,
    locks: Vec<LockRef>,
    workers: Vec<(Thread, Pending)>,
}

impl<'a> Storm<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        let first = fixture.peer();
        let numbered = need::NUMBERED.is_met(&fixture.suite);
        let locks: Vec<_> = (0..if numbered { LOCKS } else { 1 }).map(|_| fixture.a_lock(&first)).collect();
        let (path, arena) = fixture.arena(locks.len());
        arena.go();
        let mut storm = Self { fixture, path, arena, locks, workers: Vec::new() };
        storm.workers = (0..PROCESSES).map(|slot| storm.worker(slot)).collect();
        storm
    }

    fn worker(&self, slot: usize) -> (Thread, Pending) {
        let thread = self.fixture.peer();
        let pending = start_sections_of("sections", &thread, slot, &self.path, 0, 3000, &self.locks);
        pending.begun();
        (thread, pending)
    }

    /// Kills the worker and starts a new one.
    fn kill(&mut self, slot: usize) {
        let victim = &self.workers[slot].0;
        assert!(self.arena.note_kill(victim.pid()), "the list of killed processes is full");
        self.fixture.kill(&victim.process);
        self.workers[slot] = self.worker(slot);
    }

    /// Returns a worker that is in a critical section.
    fn owner(&self) -> Option<usize> {
        (0..self.locks.len()).find_map(|lock| {
            let inside = self.arena.place(lock).inside();
            self.workers.iter().position(|(thread, _)| u64::from(thread.pid()) == inside)
        })
    }

    fn deaths(&self) -> u64 {
        (0..self.locks.len()).map(|lock| self.arena.place(lock).deaths()).sum()
    }

    /// Stops the workers and checks the results.
    fn settle(self) {
        self.arena.stop();
        for (_, pending) in self.workers {
            pending.done();
        }
        // The last killed owner has no successor among the workers, so this thread acquires its lock.
        let last = self.fixture.peer();
        for (number, lock) in self.locks.iter().enumerate() {
            let grant = last.lock(*lock);
            let place = self.arena.place(number);
            if place.inside() != 0 && need::REPORTED.is_met(&self.fixture.suite) {
                assert!(grant.death.is_some(), "the last death was not reported");
            }
            place.repair();
            last.unlock(*lock);
            nothing_went_wrong_in(place);
            assert!(place.done() > 0, "no critical section of the lock {lock} ended");
        }
    }
}

fn owners_are_killed_and_no_section_is_lost(fixture: &Fixture) {
    let mut storm = Storm::new(fixture);
    let wanted = u64::from(25 * scale());
    while storm.deaths() < wanted && storm.arena.kills() < KILLED as u64 {
        assert!(Instant::now() < fixture.deadline, "watchdog: the storm does not end");
        match storm.owner() {
            Some(slot) => storm.kill(slot),
            None => std::hint::spin_loop(),
        }
    }
    assert!(storm.deaths() > 0, "{} kills never hit an owner", storm.arena.kills());
    storm.settle();
}

fn anybody_is_killed_at_any_moment_and_no_section_is_lost(fixture: &Fixture) {
    let mut storm = Storm::new(fixture);
    for kill in 0..(20 * scale() as usize).min(KILLED) {
        storm.kill(kill % PROCESSES);
    }
    storm.settle();
}
