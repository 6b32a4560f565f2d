use std::fs;
use std::io;
use std::time::Duration;

use lock_core::Holder;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::activity;
use crate::clock;
use crate::file::FileId;
use crate::scan::{self, Call};
use crate::state::State;

/// The longest command line that is returned, in bytes.
const COMMAND: usize = 256;

/// A thread of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Thread {
    /// The id of its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// The start time of its process, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// The command line of its process, cut to 256 bytes; the name of the program in brackets if there is none.
    pub command: String,
    /// Its state.
    pub state: State,
}

impl Thread {
    /// Returns the thread with this id, or `None` if there is none that `/proc` shows.
    pub fn find(tid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
        let pid = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
        let state = Stat::read(tid)?.state;
        Some(Self { pid, tid, start_time: Stat::read(pid)?.start_time, command: command(pid), state })
    }

    /// Returns whether there is a thread with this id in the PID namespace of the caller, also if `/proc` hides it.
    pub fn exists(tid: u32) -> bool {
        // Signal 0 is not sent. The result EPERM says that there is a thread, of another user.
        tid.try_into().is_ok_and(|tid| tid > 0 && kill(Pid::from_raw(tid), None) != Err(Errno::ESRCH))
    }

    /// Returns how long ago its process started.
    pub fn age(&self) -> Option<Duration> {
        Some(clock::since_boot()?.saturating_sub(clock::ticks(self.start_time)?))
    }

    /// Returns how long the thread has slept until now, where the kernel says it. `None` if it does not sleep.
    pub fn asleep(&self) -> Option<Duration> {
        let Stat { state, processor, .. } = Stat::read(self.tid)?;
        if state == State::Sleeping { clock::not_run_for(self.tid, processor) } else { None }
    }

    /// Returns how long the thread has not run until now, asleep or stopped, where the kernel says it. `None` if it runs or has ended.
    pub fn idle(&self) -> Option<Duration> {
        let Stat { state, processor, .. } = Stat::read(self.tid)?;
        match state {
            State::Sleeping | State::Uninterruptible | State::Stopped => clock::not_run_for(self.tid, processor),
            State::Running | State::Ended => None,
        }
    }

    /// Returns whether its process has the file mapped.
    ///
    /// # Errors
    /// The error of reading the memory map, mostly for want of rights.
    pub fn maps(&self, file: &FileId) -> io::Result<bool> {
        Ok(!scan::mappings(self.pid, file)?.is_empty())
    }

    /// Returns the value that the word on which the thread sleeps in futex(2) had at the start of the sleep.
    ///
    /// `None` if it does not sleep there, or for want of rights. The word of a mutex contains the id of its owner, in most libraries.
    pub fn futex_value(&self) -> Option<u32> {
        let call = Call::of(self.pid, self.tid).ok()??;
        call.is_futex_wait().then_some(call.arguments[2] as u32)
    }

    /// Returns what the thread does now, in words such as `it sleeps in futex(2)`.
    pub fn activity(&self) -> String {
        activity::of(self.pid, self.tid, self.state)
    }
}

impl From<Thread> for Holder {
    fn from(thread: Thread) -> Self {
        let mut holder = Self::of_process(thread.pid).with_thread(thread.tid).with_command(thread.command);
        holder.start_time = Some(thread.start_time);
        holder
    }
}

/// Facts of `/proc/PID/stat`.
struct Stat {
    state: State,
    start_time: u64,
    /// The processor on which the thread last ran.
    processor: usize,
}

impl Stat {
    fn read(tid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{tid}/stat")).ok()?;
        // The name of the program may contain parentheses and spaces.
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        let state = match fields.next()? {
            "R" => State::Running,
            "D" => State::Uninterruptible,
            "T" | "t" => State::Stopped,
            "Z" | "X" | "x" => State::Ended,
            _ => State::Sleeping,
        };
        // The state is field 3, the start time is field 22, the processor is field 39.
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Self { state, start_time, processor: fields.nth(16)?.parse().ok()? })
    }
}

fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    if words.is_empty() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return format!("[{}]", name.trim_end());
    }
    let printable = words.chars().map(|character| if character.is_control() { '?' } else { character });
    let mut length = 0;
    printable
        .take_while(|character| {
            length += character.len_utf8();
            length <= COMMAND
        })
        .collect()
}
