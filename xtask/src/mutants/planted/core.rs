//! What all backends rely on.

use super::{Planted, planted};

pub(super) const PLANTED: &[&[Planted]] = &[ONLY];

const ONLY: &[Planted] = planted! { "lock-core/src/fork.rs":
    "child-keeps-descriptors" ["file" "shm"] "a dead parent's lock is held by its child";
r"            let _ = nix::unistd::close((at * 64) as RawFd + bits.trailing_zeros() as RawFd);
"
        => "";
    "child-keeps-seat" ["shm"] "a child is taken for its parent";
r"    watched.tables.iter().filter_map(Weak::upgrade).for_each(|table| table.disown());
"
        => "";
};
