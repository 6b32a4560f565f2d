use std::fmt;

/// The thread or process that holds a lock, or that held it when it died.
///
/// The fields are for display. Do not use the pid to decide whether the process is alive: the kernel reuses pids, and a pid denotes
/// different processes in different PID namespaces.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Holder {
    /// Process id, in the holder's PID namespace; 0 where the store no longer records the process.
    pub pid: u32,
    /// Thread id, in the holder's PID namespace; 0 if the process holds the lock ([`SendGuard`](crate::SendGuard)), or where the backend
    /// knows only the process.
    #[cfg_attr(feature = "serde", serde(with = "crate::serialize::zero_as_none"))]
    pub tid: u32,
    /// Start time of the process, in clock ticks since boot (field 22 of `/proc/PID/stat`, see proc_pid_stat(5)).
    pub start_time: Option<u64>,
    /// Inode number of the PID namespace (`/proc/PID/ns/pid`, see namespaces(7)).
    pub pid_namespace: Option<u64>,
    /// Name of the host, where the store is shared between hosts. `None` means the host of the store.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub host: Option<String>,
    /// Command line, truncated to the length that the store keeps; empty where it is unknown.
    pub command: String,
}

impl Holder {
    /// Creates a holder of which only the process id is known.
    pub fn of_process(pid: u32) -> Self {
        Self { pid, tid: 0, start_time: None, pid_namespace: None, host: None, command: String::new() }
    }

    /// Sets the thread id.
    #[must_use]
    pub fn with_thread(mut self, tid: u32) -> Self {
        self.tid = tid;
        self
    }

    /// Sets the name of the host.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the command line.
    #[must_use]
    pub fn with_command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.tid) {
            (0, 0) => f.write_str("a process that is no longer recorded")?,
            (0, tid) => write!(f, "thread {tid}")?,
            (pid, tid) if tid == 0 || tid == pid => write!(f, "pid {pid}")?,
            (pid, tid) => write!(f, "pid {pid} thread {tid}")?,
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        if !self.command.is_empty() {
            write!(f, " ({})", self.command)?;
        }
        Ok(())
    }
}
