//! The processes of holders and waiters, if they run on this host and `/proc` shows them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lock_any::Holder;
use lock_proc::Thread;

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

    /// Returns the thread, or the first thread of the process, if `/proc` shows the process that the store has recorded.
    ///
    /// A holder without a host and a PID namespace is one of those of this process.
    pub(crate) fn thread(&self, holder: &Holder) -> Option<Thread> {
        let is_here = holder.host.as_ref().is_none_or(|host| Some(host) == self.host.as_ref());
        if !is_here || holder.pid_namespace.is_some_and(|inode| Some(inode) != self.pid_namespace) {
            return None;
        }
        let thread = Thread::find(if holder.tid == 0 { holder.pid } else { holder.tid })?;
        let is_same = [0, thread.pid].contains(&holder.pid) && holder.start_time.is_none_or(|time| time == thread.start_time);
        is_same.then_some(thread)
    }
}
