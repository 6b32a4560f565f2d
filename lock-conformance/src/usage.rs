//! The resource usage of a peer, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::ClockId;

use crate::process::Process;
use crate::threads::{self, Times};

/// Returns the time of the monotonic clock, which all processes share.
pub(crate) fn monotonic_time() -> Duration {
    ClockId::CLOCK_MONOTONIC.now().expect("every machine has the clock").into()
}

/// Measures how long a thread or a process sleeps.
///
/// Time in which it runs or waits for a processor does not count.
pub(crate) struct SleepTimer {
    pid: u32,
    /// The thread; `None` for all threads of the process.
    tid: Option<u32>,
    began: Instant,
    /// The times of all threads of the process at the start.
    before: BTreeMap<u32, Times>,
}

/// Maximum duration of a measurement.
const MOST: Duration = Duration::from_secs(5);

/// Longer than a tick of the kernel, at which it updates the time of a running thread.
const TICK: Duration = Duration::from_millis(12);

impl SleepTimer {
    /// Starts to measure the sleep of all threads of the process.
    pub(crate) fn of_process(pid: u32) -> Self {
        Self::start(pid, None)
    }

    /// Starts to measure the sleep of one thread.
    pub(crate) fn of_thread(pid: u32, tid: u32) -> Self {
        Self::start(pid, Some(tid))
    }

    fn start(pid: u32, tid: Option<u32>) -> Self {
        Self { pid, tid, began: Instant::now(), before: all_times(pid) }
    }

    /// Returns the time asleep since the start, accurate to one tick of the kernel.
    ///
    /// Time in which another thread, which may work for this one, waited for a processor does not count either.
    pub(crate) fn slept(&self) -> Duration {
        let (mut awake, mut queued_most) = (Duration::ZERO, Duration::ZERO);
        for (tid, times) in all_times(self.pid) {
            let (running, queued) = self.before.get(&tid).map_or((Duration::ZERO, Duration::ZERO), |old| times.since(*old));
            if self.tid.is_none_or(|measured| measured == tid) {
                awake += running + queued;
            } else {
                queued_most = queued_most.max(queued);
            }
        }
        self.began.elapsed().saturating_sub(awake + queued_most)
    }

    /// Returns whether the sleep is longer than `time`, and no thread waits for a processor during a tick.
    ///
    /// The kernel adds the time of waiting for a processor only when the thread gets one.
    pub(crate) fn has_slept_for(&self, time: Duration) -> bool {
        let is_late = || self.began.elapsed() > time && self.slept() > time;
        if !is_late() {
            return false;
        }
        let awake = || all_times(self.pid).into_iter().filter(|(tid, _)| is_awake(self.pid, *tid));
        let before: BTreeMap<_, _> = awake().collect();
        sleep(TICK);
        let got_none =
            |tid, times: Times| before.get(&tid).is_some_and(|old| times.since(*old) == (Duration::ZERO, Duration::ZERO));
        let is_stuck = awake().any(|(tid, times)| self.tid == Some(tid) || got_none(tid, times));
        !is_stuck && is_late()
    }
}

/// Returns the times of each thread of the process, if the kernel counts them.
fn all_times(pid: u32) -> BTreeMap<u32, Times> {
    threads::ids(pid).filter_map(|tid| Some((tid, threads::times(pid, tid)?))).collect()
}

/// Returns whether any thread of the process runs or waits for a processor.
fn any_is_awake(pid: u32) -> bool {
    threads::ids(pid).any(|tid| is_awake(pid, tid))
}

/// Returns whether a thread runs or waits for a processor.
fn is_awake(pid: u32, tid: u32) -> bool {
    threads::state(pid, tid) == Some('R')
}

/// The resources that a process uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Number of open descriptors, in the largest of its descriptor tables.
    pub(crate) descriptors: usize,
    /// Number of inotify watches of these descriptors.
    pub(crate) watches: usize,
    pub(crate) threads: usize,
    /// Private anonymous memory in KiB; 0 if the kernel does not report it.
    pub(crate) memory: usize,
}

impl Process {
    /// Returns a thread that has run for `running` before it has slept for `sleeping`.
    ///
    /// Returns `None` once all threads have slept that long.
    pub(crate) fn thread_that_runs(&self, running: Duration, sleeping: Duration) -> Option<u32> {
        let (began, before) = (Instant::now(), all_times(self.pid()));
        let mut undecided: Vec<_> = before.keys().copied().collect();
        while !undecided.is_empty() && began.elapsed() < MOST {
            sleep(TICK / 2);
            for (tid, times) in all_times(self.pid()) {
                let Some(old) = before.get(&tid).filter(|_| undecided.contains(&tid)) else { continue };
                let (ran, queued) = times.since(*old);
                if ran >= running {
                    return Some(tid);
                }
                // The kernel adds the time of waiting for a processor only when the thread gets one.
                let has_slept = !is_awake(self.pid(), tid) && began.elapsed().saturating_sub(ran + queued) >= sleeping;
                undecided.retain(|known| *known != tid || !has_slept);
            }
        }
        None
    }

    /// Returns whether any thread of the process runs or waits for a processor.
    pub(crate) fn is_awake(&self) -> bool {
        any_is_awake(self.pid())
    }

    /// Reads the resource usage.
    pub(crate) fn usage(&self) -> Usage {
        let (mut descriptors, mut watches) = (0, 0);
        let tasks: Vec<_> = self.threads().collect();
        for tid in &tasks {
            let numbers = fs::read_dir(format!("/proc/{}/task/{tid}/fdinfo", self.pid())).into_iter().flatten().flatten();
            let facts: Vec<_> = numbers.map(|number| fs::read_to_string(number.path()).unwrap_or_default()).collect();
            // Threads may have separate descriptor tables.
            descriptors = descriptors.max(facts.len());
            watches =
                watches.max(facts.iter().map(|facts| facts.lines().filter(|line| line.starts_with("inotify ")).count()).sum());
        }
        let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap_or_default();
        let kibibytes = memory.lines().find_map(|line| line.strip_prefix("Anonymous:")?.trim().strip_suffix(" kB")?.parse().ok());
        Usage { descriptors, watches, threads: tasks.len(), memory: kibibytes.unwrap_or(0) }
    }

    /// Returns the targets of the descriptors, without inode numbers.
    pub(crate) fn targets_of_descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a peer's descriptors can be listed");
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let mut targets: Vec<_> =
            targets.map(|target| target.to_string_lossy().split(":[").next().unwrap_or_default().to_owned()).collect();
        targets.sort();
        targets
    }

    /// Returns the files that the process has open or mapped.
    pub(crate) fn open_files(&self) -> BTreeSet<PathBuf> {
        let tables = self.threads().map(|tid| format!("/proc/{}/task/{tid}/fd", self.pid()));
        let numbers = tables.flat_map(|table| fs::read_dir(table).into_iter().flatten().flatten());
        let opened = numbers.filter_map(|number| fs::read_link(number.path()).ok());
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap_or_default();
        let mapped = maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
        opened.chain(mapped).collect()
    }
}
