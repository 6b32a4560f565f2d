//! What all backends rely on.

use super::{Mutation, planted};

pub(super) const PLANTED: &[&[Mutation]] = &[FORK, DESCRIPTOR, FORK_PAGE];

const FORK: &[Mutation] = planted! { "lock-core/src/fork.rs":
    "child-keeps-descriptors" ["file" "shm"] "a dead parent's lock is held by its child";
r"            call_hooks(next, EARLIER_FORKS.get());
"
        => "";
};

const DESCRIPTOR: &[Mutation] = planted! { "lock-table/src/descriptor.rs":
    "closed-number-forgotten-during-a-fork" ["file"] "a child keeps the lock of a descriptor that its parent closed while it was forked";
"            Some(begun) => drop(self.state.fetch_or(CLOSED | begun << FORKS_SHIFT, Release)),"
        => "            Some(_) => self.state.store(FREE, Release),";
};

const FORK_PAGE: &[Mutation] = planted! { "lock-core/src/sys/fork.rs":
    "child-keeps-identity" ["shm"] "a child is confused with its parent";
"libc::MADV_WIPEONFORK"
        => "libc::MADV_NORMAL";
};
