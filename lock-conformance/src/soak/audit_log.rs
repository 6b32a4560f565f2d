//! The audit log: words that the driver and the workers of a soak test share, beside the [`SharedMemory`].
//!
//! The kernel reuses a pid after some tens of thousands of kills, so a pid does not identify a worker. Each worker therefore has a
//! unique *serial* number. In a critical section it leaves its [`Mark`], which consists of the serial and the pid. A death report names
//! only a pid. The log records the number of the last kill of each pid, to check whether the report can be right.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::totals::Totals;
use super::{INSPECTOR, WORKERS};
use crate::shared_memory::{Place, SharedMemory, WRONGS, Wrong};
use crate::sys;

/// Maximum number of waiting threads: two for each worker and for the inspector.
const THREADS: usize = (WORKERS + 1) * 2;
/// Maximum size of the file of complaints, in bytes.
const COMPLAINTS: u64 = 1 << 14;

const KILLS: usize = 0;
const AIMED: usize = 1;
const WORST_WAIT: usize = 2;
const LOST: usize = 3;
const SUMS: usize = 4;
const CRASHED: usize = 5;
const ALLOCATIONS: usize = 6;
const IDS: usize = 7;
const UNNAMED: usize = 8;
const FIRST_CURRENT: usize = 9;
const FIRST_DOOMED: usize = FIRST_CURRENT + WORKERS + 1;
const FIRST_WAIT: usize = FIRST_DOOMED + WORKERS + 1;
const FIRST_SEEN: usize = FIRST_WAIT + THREADS;

/// The identity of a worker: its serial and its pid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn new(serial: u32, pid: u32) -> Self {
        Self(u64::from(serial) << 32 | u64::from(pid))
    }

    /// Returns the worker that is in the critical section, or died in it.
    pub(super) fn inside(place: Place) -> Option<Self> {
        Some(place.inside()).filter(|mark| *mark != 0).map(Self)
    }

    pub(super) fn pid(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn serial(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn worker(self) -> usize {
        worker_of(self.serial())
    }
}

impl From<Mark> for u64 {
    fn from(mark: Mark) -> Self {
        mark.0
    }
}

/// Returns the index of the worker with this serial. A replacement has the index of its predecessor.
fn worker_of(serial: u32) -> usize {
    serial as usize % (WORKERS + 1)
}

/// Returns the serial of the `count`th worker with this index.
pub(super) fn serial(worker: usize, count: u32) -> u32 {
    count * (WORKERS + 1) as u32 + worker as u32
}

/// The shared words.
#[derive(Clone)]
pub(super) struct AuditLog {
    pub(super) memory: SharedMemory,
    words: &'static [AtomicU64],
    complaints: PathBuf,
}

impl AuditLog {
    /// Creates the files for this many ids.
    pub(super) fn create(directory: &Path, ids: usize) -> io::Result<Self> {
        let memory = SharedMemory::create(&directory.join("memory"), ids)?;
        let highest: usize = fs::read_to_string("/proc/sys/kernel/pid_max")?.trim().parse().map_err(io::Error::other)?;
        let words = FIRST_SEEN + ids + highest + 1;
        let file = File::options().read(true).write(true).create_new(true).open(directory.join("audit_log"))?;
        // The file is sparse. Only words of pids that were used take up space.
        file.set_len((words * size_of::<u64>()) as u64)?;
        memory.go();
        Ok(Self { memory, words: sys::map_words(&file, words)?, complaints: directory.join("complaints") })
    }

    fn add(&self, word: usize) {
        self.words[word].fetch_add(1, AcqRel);
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Acquire)
    }

    /// Returns the number of kills, including one in progress.
    pub(super) fn kills(&self) -> u64 {
        self.get(KILLS)
    }

    /// Records that a worker starts.
    pub(super) fn begins(&self, serial: u32) {
        self.words[FIRST_CURRENT + worker_of(serial)].store(serial.into(), Release);
    }

    /// Records that a worker is about to be killed.
    pub(super) fn is_doomed(&self, mark: Mark, aimed: bool) {
        let kill = self.kills() + 1;
        self.words[self.first_killed() + mark.pid() as usize].store(kill, Release);
        self.words[FIRST_DOOMED + mark.worker()].store(mark.serial().into(), Release);
        self.words[KILLS].store(kill, Release);
        if aimed {
            self.add(AIMED);
        }
    }

    /// Records that a worker has died and is reaped.
    pub(super) fn is_reaped(&self, serial: u32) {
        self.words[FIRST_CURRENT + worker_of(serial)].store(0, Release);
        (0..2).for_each(|thread| self.waits(worker_of(serial), thread, None));
    }

    /// Returns whether the worker is alive and no kill of it is in progress.
    pub(super) fn is_alive(&self, mark: Mark) -> bool {
        // The order matters: between the two loads, a replacement may start and be marked for a kill.
        self.get(FIRST_DOOMED + mark.worker()) != u64::from(mark.serial()) && !self.is_gone(mark)
    }

    /// Returns whether the worker is reaped.
    pub(super) fn is_gone(&self, mark: Mark) -> bool {
        self.get(FIRST_CURRENT + mark.worker()) != u64::from(mark.serial())
    }

    /// Returns the number of the last kill of this pid, 0 without one.
    pub(super) fn last_kill_of(&self, pid: u32) -> u64 {
        self.words.get(self.first_killed() + pid as usize).map_or(0, |kill| kill.load(Acquire))
    }

    fn first_killed(&self) -> usize {
        FIRST_SEEN + self.memory.places()
    }

    /// Replaces the number of kills that the last owner of a lock had seen, and returns it.
    pub(super) fn exchange_seen(&self, lock: usize) -> u64 {
        self.words[FIRST_SEEN + lock].swap(self.kills(), AcqRel)
    }

    /// Records that a thread starts to wait for a lock, or, with `None`, stops.
    pub(super) fn waits(&self, worker: usize, thread: usize, lock: Option<usize>) {
        let since = lock.map_or(0, |lock| now() << 8 | (lock as u64 & 0xff));
        self.words[FIRST_WAIT + worker * 2 + thread].store(since, Release);
    }

    /// Returns the lock for which a worker has waited longest, and for how long.
    pub(super) fn longest_wait(&self, worker: usize) -> Option<(u64, Duration)> {
        let waits = (0..2).map(|thread| self.get(FIRST_WAIT + worker * 2 + thread)).filter(|wait| *wait != 0);
        let longest = waits.min_by_key(|wait| wait >> 8)?;
        let waited = Duration::from_micros(now().wrapping_sub(longest >> 8) & (u64::MAX >> 8));
        Some((longest & 0xff, waited))
    }

    /// Records a completed wait.
    pub(super) fn waited(&self, wait: Duration) {
        self.words[WORST_WAIT].fetch_max(wait.as_nanos() as u64, AcqRel);
    }

    pub(super) fn allocated(&self) {
        self.add(ALLOCATIONS);
    }

    /// Records a death report without a pid.
    pub(super) fn unnamed(&self) {
        self.add(UNNAMED);
    }

    /// Records a lock that cannot be acquired, or a lost id.
    pub(super) fn lost(&self, what: &str) {
        self.add(LOST);
        self.complain(what);
    }

    /// Records the total number of lost ids.
    pub(super) fn ids_are_lost(&self, how_many: u64, what: &str) {
        if self.words[IDS].fetch_max(how_many, AcqRel) < how_many {
            self.complain(what);
        }
    }

    /// Records a worker that ended without a kill.
    pub(super) fn crashed(&self, what: &str) {
        self.add(CRASHED);
        self.complain(what);
    }

    /// Records the number of wrong sums. A wrong sum stays wrong.
    pub(super) fn sums_are_wrong(&self, how_many: u64, what: &str) {
        if self.words[SUMS].fetch_max(how_many, AcqRel) < how_many {
            self.complain(what);
        }
    }

    /// Records a violation in a critical section.
    pub(super) fn note(&self, lock: usize, wrong: Wrong, what: &str) {
        self.memory.place(lock).note(wrong);
        let said = WRONGS.iter().find_map(|(one, said)| (*one == wrong).then_some(*said)).unwrap_or_default();
        self.complain(&format!("{} on lock {lock} {said}: {what}", std::process::id()));
    }

    fn complain(&self, what: &str) {
        let file = File::options().append(true).create(true).open(&self.complaints);
        if let Ok(mut file) = file
            && file.metadata().is_ok_and(|metadata| metadata.len() < COMPLAINTS)
        {
            // The counters include the complaint even if writing fails.
            let _ = file.write_all(format!("{what}\n").as_bytes());
        }
    }

    /// Returns the complaints from line `seen` on.
    pub(super) fn complaints(&self, seen: usize) -> Vec<String> {
        let text = fs::read_to_string(&self.complaints).unwrap_or_default();
        text.lines().skip(seen).map(str::to_owned).collect()
    }

    /// Returns the totals so far; `time` is the duration.
    pub(super) fn totals(&self, time: Duration) -> Totals {
        let places = || (0..self.memory.places()).map(|lock| self.memory.place(lock));
        let wrongs: u64 = places().flat_map(|place| WRONGS.map(|(wrong, _)| place.noted(wrong))).sum();
        Totals {
            kills: self.kills(),
            aimed: self.get(AIMED),
            owner_deaths: places().map(Place::deaths).sum(),
            unnamed: self.get(UNNAMED),
            sections: places().map(Place::value).sum(),
            allocations: self.get(ALLOCATIONS),
            violations: wrongs + self.get(SUMS) + self.get(CRASHED),
            lost: self.get(LOST) + self.get(IDS),
            worst_wait: Duration::from_nanos(self.get(WORST_WAIT)),
            time,
        }
    }
}

/// Returns the slot of a thread in the sums of the [`SharedMemory`].
pub(super) fn slot(worker: usize, thread: usize) -> usize {
    debug_assert!(worker <= INSPECTOR);
    worker * 2 + thread
}

/// Returns the time of the monotonic clock, which all processes share, in microseconds.
fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_micros() as u64)
}
