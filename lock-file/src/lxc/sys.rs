//! System calls for LXC's lock.
//!
//! `flock(2)` replaces `fcntl_locking(2)` where the kernel has no open-file-description locks.

use std::os::fd::AsRawFd;

use lock_core::{Error, Result};
use lock_table::descriptor::Descriptor;
use nix::errno::Errno;
use nix::fcntl::FlockArg;

use crate::sys;

/// Locks the file if it is free. Returns whether the caller has the lock.
pub(super) fn try_lock(file: &Descriptor) -> Result<bool> {
    match sys::try_lock(file) {
        Err(Errno::EINVAL) => try_flock(file),
        other => other.map_err(sys::error),
    }
}

/// Locks the file, and blocks until it is free.
pub(super) fn lock(file: &Descriptor) -> Result<()> {
    match sys::lock(file) {
        Err(Errno::EINVAL) => flock(file, FlockArg::LockExclusive).map_err(|errno| Error::system("flock", errno)),
        other => other.map_err(sys::error),
    }
}

/// Returns whether another description has the file locked, or `None` if the kernel has no open-file-description locks.
pub(super) fn is_locked(file: &Descriptor) -> Option<bool> {
    sys::is_locked(file).ok()
}

/// Marks the description by a shared lock of flock(2). Returns whether it is marked.
pub(super) fn mark(file: &Descriptor) -> bool {
    flock(file, FlockArg::LockSharedNonblock).is_ok()
}

/// Removes the mark of the description.
pub(super) fn unmark(file: &Descriptor) {
    // Fails if the program has closed the descriptor, which removed the mark.
    let _ = flock(file, FlockArg::Unlock);
}

/// Returns whether another description is marked. The mark of this one is lost.
pub(super) fn is_marked(file: &Descriptor) -> Result<bool> {
    let is_alone = try_flock(file)?;
    unmark(file);
    Ok(!is_alone)
}

fn try_flock(file: &Descriptor) -> Result<bool> {
    match flock(file, FlockArg::LockExclusiveNonblock) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(Error::system("flock", errno)),
    }
}

/// Calls `flock(2)`, again after each signal that interrupts it.
fn flock(file: &Descriptor, how: FlockArg) -> Result<(), Errno> {
    loop {
        let fd = file.get().ok_or(Errno::EBADF)?;
        // `nix::fcntl::Flock` replaces this function, but it has to own the file, and a `Descriptor` does not give its file away.
        #[allow(deprecated)]
        match nix::fcntl::flock(fd.as_raw_fd(), how) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use lock_table::descriptor::KeptDescription;

    use super::*;

    #[test]
    fn flock_excludes_until_the_description_is_closed() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let [mut one, two] = [(); 2].map(|()| KeptDescription::new(|| Ok(path.reopen().unwrap().into())).unwrap());
        let two = two.descriptor().unwrap();
        assert!(try_flock(one.descriptor().unwrap()).unwrap());
        assert!(!try_flock(two).unwrap());
        one.close();
        assert!(!try_flock(two).unwrap());
        drop(one);
        assert!(try_flock(two).unwrap());
    }
}
