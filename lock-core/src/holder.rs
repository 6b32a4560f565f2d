use std::fmt;

/// A thread that holds a lock, or held it when it died, as far as the backend can tell.
///
/// It is for people to read. Nothing decides by a pid whether somebody lives: pids are reused, and mean another process in
/// another pid namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// Process id, in the holder's own pid namespace.
    pub pid: u32,
    /// Thread id, in the holder's own pid namespace; 0 where the backend knows only the process.
    pub tid: u32,
    /// When the process started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: Option<u64>,
    /// Inode number of the pid namespace (`/proc/self/ns/pid`).
    pub pid_namespace: Option<u64>,
    /// The command line, cut to what the store keeps; empty where it is not known.
    pub command: String,
}

impl Holder {
    /// A holder of which only the process id is known.
    pub fn of_process(pid: u32) -> Self {
        Self { pid, tid: 0, start_time: None, pid_namespace: None, command: String::new() }
    }

    /// The same holder with a thread id.
    #[must_use]
    pub fn with_thread(mut self, tid: u32) -> Self {
        self.tid = tid;
        self
    }

    /// The same holder with a command line.
    #[must_use]
    pub fn with_command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => f.write_str("an unknown process")?,
            pid => write!(f, "pid {pid}")?,
        }
        if self.tid != 0 && self.tid != self.pid {
            write!(f, " thread {}", self.tid)?;
        }
        if !self.command.is_empty() {
            write!(f, " ({})", self.command)?;
        }
        Ok(())
    }
}
