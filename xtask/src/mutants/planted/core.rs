//! What all backends rely on.

use super::{Planted, planted};

pub(super) const PLANTED: &[&[Planted]] = &[FORK, FORK_PAGE];

const FORK: &[Planted] = planted! { "lock-core/src/fork.rs":
    "child-keeps-descriptors" ["file" "shm"] "a dead parent's lock is held by its child";
r"            descriptor::close_inherited(next);
"
        => "";
};

const FORK_PAGE: &[Planted] = planted! { "lock-core/src/sys/fork.rs":
    "child-keeps-identity" ["shm"] "a child is taken for its parent";
"libc::MADV_WIPEONFORK"
        => "libc::MADV_NORMAL";
};
