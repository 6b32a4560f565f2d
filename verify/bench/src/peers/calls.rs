//! Bare system calls.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::{FcntlArg, fcntl};

/// Acquires an exclusive open-file-description lock on the whole file, without a time limit.
#[inline]
pub(crate) fn ofd_lock(file: &File) {
    ofd(file, libc::F_WRLCK);
}

#[inline]
pub(crate) fn ofd_unlock(file: &File) {
    ofd(file, libc::F_UNLCK);
}

#[inline]
fn ofd(file: &File, kind: libc::c_int) {
    let whole = libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLKW(&whole)).expect("the file can be locked");
}

/// Acquires the lock if it is free. Returns whether it was.
#[inline]
pub(crate) fn ofd_try_lock(file: &File) -> bool {
    let whole = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&whole)).is_ok()
}

/// Locks and unlocks an open descriptor by flock(2).
// nix's `Flock` locks only once, when it is created.
#[allow(deprecated)]
#[inline]
pub(crate) fn flock_pair(file: &File) {
    use nix::fcntl::{FlockArg, flock};
    flock(file.as_raw_fd(), FlockArg::LockExclusive).expect("the file can be locked");
    flock(file.as_raw_fd(), FlockArg::Unlock).expect("the file can be unlocked");
}
