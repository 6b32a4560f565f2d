//! File locks.

use super::{Planted, planted};

pub(super) const PLANTED: &[&[Planted]] = &[OFD, LOCK, DIRECTORY];

const OFD: &[Planted] = planted! { "lock-file/src/ofd.rs":
    "lock-not-taken" ["file"] "two processes are inside";
r"pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {"
        => r"pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))) {";
    "shared-lock" ["file"] "two processes are inside";
r"pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLKW(&whole_file(libc::F_WRLCK))) {"
        => r"pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match fcntl(fd, FcntlArg::F_OFD_SETLKW(&whole_file(libc::F_UNLCK))) {";
    "signal-ends-a-wait" ["file"] "a signal shows";
r"            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Gives"
        => r"            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Gives";
};

const LOCK: &[Planted] = planted! { "lock-file/src/lock.rs":
    "threads-not-excluded" ["file"] "two threads that share a handle are inside";
r"            if matches!(present & STATE, WAITING | HELD) && !free {
                return false;
            }"
        => r"            if matches!(present & STATE, WAITING | HELD) && !free {
                return true;
            }";
    "waiters-not-called" ["file"] "who waits with a deadline looks by the clock alone";
r"        self.claim_for(FREE);
        self.call_waiters(file);
        Ok(())"
        => r"        self.claim_for(FREE);
        Ok(())";
    "own-descriptor-not-given-up" ["file"] "a dead parent's lock is held by its child";
"            Ok(Some(Descriptor::new(descriptors::above(file)?)))"
        => r"            let file = descriptors::above(file)?;
            std::mem::forget(file.try_clone());
            Ok(Some(Descriptor::new(file)))";
};

const DIRECTORY: &[Planted] = planted! { "lock-file/src/directory.rs":
    "lock-file-of-a-lost-store" ["file"] "two stores of one name lock different files, and nobody is told" because "it takes a store that is destroyed between two system calls of one that locks";
r"                    if table.is_destroyed() {
                        let _ = self.remove();"
        => r"                    if false {
                        let _ = self.remove();";
};
