//! What a peer uses of the system, as `/proc` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::ClockId;

use crate::process::Process;

/// The time of the clock that all processes share and nobody sets.
pub(crate) fn monotonic_time() -> Duration {
    ClockId::CLOCK_MONOTONIC.now().expect("every machine has the clock").into()
}

/// How a thread has spent its time up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// On a processor.
    running: Duration,
    /// Ready to run, with other threads on all processors.
    queued: Duration,
}

impl Times {
    /// The time since `before` on a processor, and that in which the thread waited for one.
    fn since(self, before: Self) -> (Duration, Duration) {
        (self.running.saturating_sub(before.running), self.queued.saturating_sub(before.queued))
    }
}

/// Measures for how long a thread or a process sleeps, without the time in which it runs or waits for a processor.
pub(crate) struct SleepTimer {
    pid: u32,
    /// `None` for all threads of the process.
    tid: Option<u32>,
    began: Instant,
    /// The times of all threads of the process then.
    before: BTreeMap<u32, Times>,
}

/// The longest time for which a process is watched.
const MOST: Duration = Duration::from_secs(5);

/// Longer than the interval of the kernel's clock, after which it has counted the time of a thread that runs.
const TICK: Duration = Duration::from_millis(12);

impl SleepTimer {
    /// Starts to measure the time in which all threads of the process sleep.
    pub(crate) fn of_process(pid: u32) -> Self {
        Self::start(pid, None)
    }

    /// Starts to measure the time in which the thread sleeps.
    pub(crate) fn of_thread(pid: u32, tid: u32) -> Self {
        Self::start(pid, Some(tid))
    }

    fn start(pid: u32, tid: Option<u32>) -> Self {
        Self { pid, tid, began: Instant::now(), before: all_times(pid) }
    }

    /// The time since the start, except that in which it was awake, and that in which another thread, which may work for it, waited for a
    /// processor. It is wrong by up to the interval of the kernel's clock.
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

    /// Whether it has slept for longer than that, and no thread of the process waits for a processor all the while.
    ///
    /// The kernel does not count the time of a thread that waits for a processor before the thread gets one.
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

fn tids_of(pid: u32) -> impl Iterator<Item = u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// How each thread of the process has spent its time, where the kernel counts that.
fn all_times(pid: u32) -> BTreeMap<u32, Times> {
    tids_of(pid).filter_map(|tid| Some((tid, times_of(pid, tid)?))).collect()
}

fn times_of(pid: u32, tid: u32) -> Option<Times> {
    let counts = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    let mut counts = counts.split_whitespace().map(|count| count.parse().map(Duration::from_nanos));
    let (running, queued) = (counts.next()?.ok()?, counts.next()?.ok()?);
    Some(Times { running, queued })
}

/// Whether any thread of the process runs or waits for a processor.
fn any_is_awake(pid: u32) -> bool {
    tids_of(pid).any(|tid| is_awake(pid, tid))
}

/// Whether a thread runs or waits for a processor.
fn is_awake(pid: u32, tid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    // The name in parentheses may have anything in it.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

/// What a process uses of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Open descriptors, in the largest of its tables.
    pub(crate) descriptors: usize,
    /// Watches of inotify, among these descriptors.
    pub(crate) watches: usize,
    pub(crate) threads: usize,
    /// Anonymous memory in KiB, without what it shares with other processes; 0 where the kernel does not count it.
    pub(crate) memory: usize,
}

impl Process {
    /// A thread that runs for the one time before it has slept for the other; `None` when all threads have slept that long.
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
                // The time of a thread that waits for a processor is not counted before it gets one.
                let has_slept = !is_awake(self.pid(), tid) && began.elapsed().saturating_sub(ran + queued) >= sleeping;
                undecided.retain(|known| *known != tid || !has_slept);
            }
        }
        None
    }

    /// Whether any of its threads runs or waits for a processor.
    pub(crate) fn is_awake(&self) -> bool {
        any_is_awake(self.pid())
    }

    /// What it uses of the system.
    pub(crate) fn usage(&self) -> Usage {
        let (mut descriptors, mut watches) = (0, 0);
        let tasks: Vec<_> = self.threads().collect();
        for tid in &tasks {
            let numbers = fs::read_dir(format!("/proc/{}/task/{tid}/fdinfo", self.pid())).into_iter().flatten().flatten();
            let facts: Vec<_> = numbers.map(|number| fs::read_to_string(number.path()).unwrap_or_default()).collect();
            // Threads may have descriptor tables of their own.
            descriptors = descriptors.max(facts.len());
            watches =
                watches.max(facts.iter().map(|facts| facts.lines().filter(|line| line.starts_with("inotify ")).count()).sum());
        }
        let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap_or_default();
        let kibibytes = memory.lines().find_map(|line| line.strip_prefix("Anonymous:")?.trim().strip_suffix(" kB")?.parse().ok());
        Usage { descriptors, watches, threads: tasks.len(), memory: kibibytes.unwrap_or(0) }
    }

    /// What its descriptors lead to, without the numbers of inodes.
    pub(crate) fn targets_of_descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a peer's descriptors can be listed");
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let mut targets: Vec<_> =
            targets.map(|target| target.to_string_lossy().split(":[").next().unwrap_or_default().to_owned()).collect();
        targets.sort();
        targets
    }

    /// The files that it has open or mapped.
    pub(crate) fn open_files(&self) -> BTreeSet<PathBuf> {
        let tables = self.threads().map(|tid| format!("/proc/{}/task/{tid}/fd", self.pid()));
        let numbers = tables.flat_map(|table| fs::read_dir(table).into_iter().flatten().flatten());
        let opened = numbers.filter_map(|number| fs::read_link(number.path()).ok());
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap_or_default();
        let mapped = maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])));
        opened.chain(mapped).collect()
    }
}
