//! The threads of a process, from `/proc`.

use std::fs;
use std::time::Duration;

/// A thread's scheduling times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Time on a processor.
    pub(crate) running: Duration,
    /// Time in which the thread was ready, but waited for a processor.
    queued: Duration,
}

impl Times {
    /// Returns the time since `before` that the thread was on a processor or waited for one.
    pub(crate) fn since(self, before: Self) -> (Duration, Duration) {
        (self.running.saturating_sub(before.running), self.queued.saturating_sub(before.queued))
    }
}

/// Returns the ids of the threads of a process.
pub(crate) fn ids(pid: u32) -> impl Iterator<Item = u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the state letter of a thread, `None` without such a thread.
pub(crate) fn state(pid: u32, tid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The name in parentheses may contain any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Returns the times of a thread, if the kernel counts them.
pub(crate) fn times(pid: u32, tid: u32) -> Option<Times> {
    let counts = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
    let mut counts = counts.split_whitespace().map(|count| count.parse().map(Duration::from_nanos));
    let (running, queued) = (counts.next()?.ok()?, counts.next()?.ok()?);
    Some(Times { running, queued })
}
