//! The processes of holders and waiters, if they run on this host and `/proc` shows them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lock_any::Holder;
use lock_proc::Thread;

use super::graph::Agent;

/// The host and the PID namespace of this process.
pub(crate) struct Here {
    host: Option<String>,
    pid_namespace: Option<u64>,
}

impl Here {
    pub(crate) fn new() -> Self {
        let host = nix::unistd::gethostname().ok().map(|name| name.to_string_lossy().into_owned());
        Self { host, pid_namespace: fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino()) }
    }

    /// Returns the identity of a holder or a waiter. Without a host and a PID namespace, it has those of this process.
    pub(crate) fn agent(&self, holder: &Holder) -> Agent {
        Agent {
            host: holder.host.clone().or_else(|| self.host.clone()),
            pid_namespace: holder.pid_namespace.or(self.pid_namespace),
            pid: holder.pid,
            tid: holder.tid,
        }
    }

    /// Returns the thread, or the first thread of the process, if `/proc` shows the process that the store has recorded.
    pub(crate) fn thread(&self, holder: &Holder) -> Option<Thread> {
        let agent = self.agent(holder);
        if (agent.host, agent.pid_namespace) != (self.host.clone(), self.pid_namespace) {
            return None;
        }
        let thread = Thread::find(if holder.tid == 0 { holder.pid } else { holder.tid })?;
        let is_same = [0, thread.pid].contains(&holder.pid) && holder.start_time.is_none_or(|time| time == thread.start_time);
        is_same.then_some(thread)
    }
}
