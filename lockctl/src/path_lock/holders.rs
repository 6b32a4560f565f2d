//! The holder of a lock on a file, from `/proc`.

use std::fs::Metadata;
use std::path::Path;

use lock_any::HeldBy;
use lock_proc::FileId;

/// Returns a process that has the file locked. Nothing is acquired or changed.
pub(super) fn of(path: &Path, metadata: &Metadata) -> HeldBy {
    let users = lock_proc::file_users(&FileId::new(path, metadata));
    let this = std::process::id();
    let holder = users.found.into_iter().find(|user| (user.has_lock || user.has_flock) && user.process.pid != this);
    match (holder, users.unseen) {
        (Some(user), _) => HeldBy::Holder(user.process.into()),
        (None, Some(unseen)) => HeldBy::unknown(unseen.to_string()),
        (None, None) => HeldBy::Free,
    }
}
