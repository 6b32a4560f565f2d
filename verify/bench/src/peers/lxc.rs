//! The system calls of LXC for each lock and unlock of a container.

use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::calls;

/// Opens the file, locks it, unlocks it and closes it.
pub(crate) fn sequence(path: &Path) {
    let flags = OFlag::O_CREAT | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let file = open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR).expect("the file can be opened").into();
    calls::ofd_lock(&file);
    calls::ofd_unlock(&file);
}
