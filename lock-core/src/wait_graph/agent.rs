//! The identities of holders and waiters.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{gethostname, gettid};

use crate::Holder;

/// A process or a thread of a PID namespace of a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Agent {
    host: Option<String>,
    pid_namespace: Option<u64>,
    pid: u32,
    /// 0 for a process.
    tid: u32,
}

impl Agent {
    /// Returns whether both are of the same process.
    pub(crate) fn is_of_same_process(&self, other: &Self) -> bool {
        (&self.host, self.pid_namespace, self.pid) == (&other.host, other.pid_namespace, other.pid)
    }

    /// Returns whether this holder is a process, any of whose threads may release the lock.
    pub(crate) fn is_process(&self) -> bool {
        self.tid == 0
    }

    /// Returns whether this holder is the waiting thread, or its process.
    pub(crate) fn is_waiter(&self, waiter: &Self) -> bool {
        self.is_of_same_process(waiter) && [0, waiter.tid].contains(&self.tid)
    }
}

/// The host and the PID namespace of this process.
pub(crate) struct Here {
    host: Option<String>,
    pid_namespace: Option<u64>,
}

impl Here {
    pub(crate) fn new() -> Self {
        let host = gethostname().ok().map(|name| name.to_string_lossy().into_owned());
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

    /// Returns the calling thread.
    pub(crate) fn this_thread(&self) -> Holder {
        let tid = gettid().as_raw().unsigned_abs();
        let mut holder = Holder::of_process(std::process::id()).with_thread(tid);
        holder.pid_namespace = self.pid_namespace;
        holder
    }

    /// Returns whether the pid of the holder is one of the PID namespace of this process.
    pub(crate) fn sees(&self, holder: &Holder) -> bool {
        let Agent { host, pid_namespace, .. } = self.agent(holder);
        holder.pid != 0 && (host, pid_namespace) == (self.host.clone(), self.pid_namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_is_the_holder_or_a_thread_of_it() {
        let here = Here { host: Some("a".to_owned()), pid_namespace: Some(1) };
        let thread = |tid| here.agent(&Holder::of_process(10).with_thread(tid));
        assert!(thread(0).is_waiter(&thread(11)) && thread(11).is_waiter(&thread(11)));
        assert!(!thread(10).is_waiter(&thread(11)));
        let mut elsewhere = Holder::of_process(10).with_thread(11);
        elsewhere.pid_namespace = Some(2);
        assert!(!thread(0).is_waiter(&here.agent(&elsewhere)) && !here.sees(&elsewhere));
        assert!(!thread(0).is_waiter(&here.agent(&Holder::of_process(10).with_thread(11).with_host("b"))));
        assert!(thread(0).is_waiter(&here.agent(&Holder::of_process(10).with_thread(11).with_host("a"))));
    }
}
