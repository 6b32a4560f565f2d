use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use lock_core::Holder;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, gethostname};

/// Whether a process that a store has recorded lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Life {
    /// The process lives.
    Lives,
    /// The process has ended. This is proven, also if another process has its id now.
    Ended,
    /// It cannot be seen from here: the process ran in another PID namespace or on another host, or the store has not recorded enough.
    Unknown,
}

/// Finds out whether recorded processes live, from the PID namespace of the caller.
///
/// Answers are cached, so that a long list with few processes is fast. Create a new value for new answers.
#[derive(Debug)]
pub struct Lives {
    host: Option<String>,
    pid_namespace: Option<u64>,
    /// Whether `/proc` shows the processes of the caller's PID namespace, by the ids of that namespace.
    has_proc: bool,
    cache: HashMap<(u32, u64), Life>,
}

/// The largest number of cached answers.
const CACHED: usize = 4096;

impl Lives {
    /// Reads the host and the PID namespace of the caller.
    #[expect(clippy::new_without_default, reason = "it reads the state of the system")]
    pub fn new() -> Self {
        Self {
            host: gethostname().ok().map(|name| name.to_string_lossy().into_owned()),
            pid_namespace: fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino()),
            has_proc: has_proc(),
            cache: HashMap::new(),
        }
    }

    /// Returns whether the process of a holder lives. Its thread is not examined.
    ///
    /// The process is identified by its id, its start time and its PID namespace. Without the last two, the answer is
    /// [`Life::Unknown`].
    pub fn of(&mut self, holder: &Holder) -> Life {
        let is_here = self.pid_namespace.is_some() && holder.pid_namespace == self.pid_namespace;
        let is_on_host = holder.host.is_none() || holder.host == self.host;
        let (Some(start_time), true) = (holder.start_time, is_here && is_on_host) else { return Life::Unknown };
        let has_proc = self.has_proc;
        if self.cache.len() >= CACHED {
            self.cache.clear();
        }
        *self.cache.entry((holder.pid, start_time)).or_insert_with(|| life(holder.pid, start_time, has_proc))
    }
}

fn life(pid: u32, start_time: u64, has_proc: bool) -> Life {
    let Some(id) = pid.try_into().ok().filter(|pid: &i32| *pid > 0) else { return Life::Unknown };
    // Signal 0 is not sent. The result EPERM says that there is a process, of another user.
    if kill(Pid::from_raw(id), None) == Err(Errno::ESRCH) {
        return Life::Ended;
    }
    let stat = if has_proc { fs::read_to_string(format!("/proc/{pid}/stat")).ok() } else { None };
    match stat.as_deref().and_then(state_and_start) {
        // A process that has ended, and for which its parent has not waited yet.
        Some(('Z' | 'X' | 'x', _)) => Life::Ended,
        Some((_, start)) if start == start_time => Life::Lives,
        Some(_) => Life::Ended,
        None => Life::Unknown,
    }
}

/// Parses the fields 3 and 22 of `/proc/PID/stat`. The name of the program before them may contain blanks and parentheses.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Returns whether `/proc` belongs to the PID namespace of the caller: then it shows only one id for the caller, its own.
fn has_proc() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    ids.split_ascii_whitespace().eq([std::process::id().to_string()])
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::Thread;

    fn holder(pid: u32, start_time: Option<u64>) -> Holder {
        let mut holder = Holder::of_process(pid);
        holder.start_time = start_time;
        holder.pid_namespace = fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino());
        holder
    }

    #[test]
    fn a_process_lives_until_it_ends() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let thread = Thread::find(child.id()).unwrap();
        let recorded = holder(thread.pid, Some(thread.start_time));
        assert_eq!(Lives::new().of(&recorded), Life::Lives);
        child.kill().unwrap();
        // It is not reaped yet.
        while Thread::find(child.id()).is_some_and(|thread| thread.state != crate::State::Ended) {
            std::thread::yield_now();
        }
        assert_eq!(Lives::new().of(&recorded), Life::Ended);
        child.wait().unwrap();
        assert_eq!(Lives::new().of(&recorded), Life::Ended);
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_recorded_one() {
        let own = Thread::find(std::process::id()).unwrap();
        assert_eq!(Lives::new().of(&holder(own.pid, Some(own.start_time))), Life::Lives);
        assert_eq!(Lives::new().of(&holder(own.pid, Some(own.start_time + 1))), Life::Ended);
    }

    #[test]
    fn a_process_that_cannot_be_seen_is_unknown() {
        let own = Thread::find(std::process::id()).unwrap();
        let mut lives = Lives::new();
        assert_eq!(lives.of(&holder(own.pid, None)), Life::Unknown);
        let mut elsewhere = holder(0x3f_fff0, Some(1));
        elsewhere.pid_namespace = Some(1);
        assert_eq!(lives.of(&elsewhere), Life::Unknown);
        elsewhere.pid_namespace = None;
        assert_eq!(lives.of(&elsewhere), Life::Unknown);
        let on_a_host = holder(0x3f_fff0, Some(1)).with_host("another.example");
        assert_eq!(lives.of(&on_a_host), Life::Unknown);
        assert_eq!(Lives::new().of(&holder(0, Some(1))), Life::Unknown);
    }
}
