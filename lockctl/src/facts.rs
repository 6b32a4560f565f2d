//! Locks and owners as JSON. The names are stable, because scripts read them.

use lock_any::{Allocation, HeldLock, Holder, LockId};
use serde::Serialize;

/// A thread that holds a lock, or a process that allocated one.
#[derive(Serialize, Debug)]
pub(crate) struct Owner {
    pid: u32,
    /// `None` if only the process is known.
    tid: Option<u32>,
    start_time: Option<u64>,
    pid_namespace: Option<u64>,
    command: String,
}

impl Owner {
    pub(crate) fn pid(&self) -> String {
        self.pid.to_string()
    }

    pub(crate) fn tid(&self) -> String {
        self.tid.map(|tid| tid.to_string()).unwrap_or_default()
    }

    pub(crate) fn command(&self) -> &str {
        &self.command
    }
}

impl From<Holder> for Owner {
    fn from(holder: Holder) -> Self {
        Self {
            pid: holder.pid,
            tid: (holder.tid != 0).then_some(holder.tid),
            start_time: holder.start_time,
            pid_namespace: holder.pid_namespace,
            command: holder.command,
        }
    }
}

/// A lock that is allocated, held or both.
#[derive(Serialize, Debug)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    pub(crate) allocated: bool,
    pub(crate) label: String,
    pub(crate) generation: Option<u64>,
    pub(crate) since: Option<u64>,
    pub(crate) allocator: Option<Owner>,
    /// `None` if the backend does not know.
    pub(crate) held: Option<bool>,
    pub(crate) holder: Option<Owner>,
    pub(crate) waiters: Option<u32>,
}

impl Entry {
    /// A lock with unknown properties.
    pub(crate) fn new(id: LockId) -> Self {
        Self {
            id: id.get(),
            allocated: false,
            label: String::new(),
            generation: None,
            since: None,
            allocator: None,
            held: None,
            holder: None,
            waiters: None,
        }
    }

    /// Adds the properties of an allocation.
    pub(crate) fn allocated(mut self, allocation: Allocation) -> Self {
        self.allocated = true;
        self.label = allocation.label.as_str().to_owned();
        self.generation = allocation.generation.map(lock_any::Generation::get);
        self.since = allocation.since;
        self.allocator = allocation.allocator.map(Owner::from);
        self
    }

    /// Adds the properties of a held lock.
    pub(crate) fn held(mut self, held: HeldLock) -> Self {
        self.held = Some(true);
        self.holder = held.holder.map(Owner::from);
        self.waiters = held.waiters;
        self
    }
}
