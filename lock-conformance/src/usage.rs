//! What a peer uses of the system, as `/proc` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::process::Process;

/// How a thread has spent its time up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    at: Instant,
    /// On a processor.
    running: Duration,
    /// Ready to run, with other threads on all processors.
    queued: Duration,
}

impl Times {
    /// The part of the time since `before` that the thread has run, in percent, without the time in which it could not run.
    pub(crate) fn percent_since(self, before: Self) -> u128 {
        let running = self.running.saturating_sub(before.running);
        let able = (self.at - before.at).saturating_sub(self.queued.saturating_sub(before.queued));
        running.as_nanos() * 100 / able.max(running).as_nanos().max(1)
    }
}

/// Measures for how long a thread or a process sleeps, without the time in which it runs or waits for a processor.
pub(crate) struct SleepTimer {
    pid: u32,
    /// `None` for all threads of the process.
    tid: Option<u32>,
    began: Instant,
    /// The time awake up to then.
    awake: Duration,
}

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
        Self { pid, tid, began: Instant::now(), awake: awake(pid, tid) }
    }

    /// The time since the start, except that in which a thread was awake. It is wrong by up to the interval of the kernel's clock.
    pub(crate) fn slept(&self) -> Duration {
        self.began.elapsed().saturating_sub(awake(self.pid, self.tid).saturating_sub(self.awake))
    }

    /// Whether it has slept for longer than that, and all threads of the process sleep.
    ///
    /// The kernel does not count the time of a thread that waits for a processor before the thread gets one.
    pub(crate) fn has_slept_for(&self, time: Duration) -> bool {
        self.began.elapsed() > time && tids_of(self.pid).all(|tid| !is_awake(self.pid, tid)) && self.slept() > time
    }
}

/// The time in which a thread, or all of a process together, ran, and in which threads of the process waited for a processor: one of them
/// may work for another one. 0 where the kernel does not count that.
fn awake(pid: u32, tid: Option<u32>) -> Duration {
    let times = tids_of(pid).filter_map(|known| Some((known, times_of(pid, known)?)));
    let is_measured = |known| tid.is_none_or(|tid| tid == known);
    times.map(|(known, times)| times.queued + if is_measured(known) { times.running } else { Duration::ZERO }).sum()
}

/// Whether a thread runs or waits for a processor.
fn is_awake(pid: u32, tid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    // The name in parentheses may have anything in it.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

fn tids_of(pid: u32) -> impl Iterator<Item = u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn times_of(pid: u32, tid: u32) -> Option<Times> {
    let counts = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    let mut counts = counts.split_whitespace().map(|count| count.parse().map(Duration::from_nanos));
    let (running, queued) = (counts.next()?.ok()?, counts.next()?.ok()?);
    Some(Times { at: Instant::now(), running, queued })
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
    /// How each of its threads has spent its time, where the kernel counts that.
    pub(crate) fn times(&self) -> BTreeMap<u32, Times> {
        self.threads().filter_map(|tid| Some((tid, times_of(self.pid(), tid)?))).collect()
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
