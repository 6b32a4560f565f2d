use std::thread::{self, ThreadId};

use lock_core::{LockId, OwnerKind};

/// A held lock and its owner in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    id: LockId,
    owner: Owner,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Owner {
    Thread(ThreadId),
    /// The process, with the token of the acquisition: a guard whose lock was lost may exist beside a newer one.
    Process(u64),
}

impl Key {
    pub(crate) fn of_this_thread(id: LockId) -> Self {
        Self { id, owner: Owner::Thread(thread::current().id()) }
    }

    fn of_process(id: LockId, token: u64) -> Self {
        Self { id, owner: Owner::Process(token) }
    }

    /// Returns the key of an acquisition.
    pub(crate) fn of(id: LockId, owner: OwnerKind, token: u64) -> Self {
        if owner == OwnerKind::Process { Self::of_process(id, token) } else { Self::of_this_thread(id) }
    }

    /// Returns the key of a guard, which gives its token only if the process is the owner.
    pub(crate) fn of_guard(id: LockId, token: Option<u64>) -> Self {
        token.map_or_else(|| Self::of_this_thread(id), |token| Self::of_process(id, token))
    }
}
