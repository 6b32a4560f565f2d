//! The numbers of this process's descriptors: those of locks are above that of its inotify instance.
//!
//! When a process dies, the kernel lets go of its files from the highest number down, since the last that was closed comes first; and
//! letting go of an inotify instance takes it ten milliseconds and more. Locks with a number below would be held for as long. So a
//! number is kept for the instance before the first lock is opened.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_core::fork::PerProcess;
use lock_core::{Error, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::dup3;

/// What holds the number: first something that nobody reads.
static KEPT: PerProcess<Mutex<OwnedFd>> = PerProcess::new();

/// A descriptor of the same file above the number that is kept, and that is kept from now on.
///
/// # Errors
/// Where no descriptor is left.
pub(crate) fn above(file: OwnedFd) -> Result<OwnedFd> {
    let kept = kept()?.as_raw_fd();
    let mut copies = vec![file];
    // A copy has the lowest number that is free: those below are filled until one is above.
    while let Some(copy) = copies.pop_if(|copy| copy.as_raw_fd() < kept) {
        let next = copy.try_clone().map_err(|error| Error::refused("fcntl F_DUPFD_CLOEXEC", error))?;
        copies.push(copy);
        copies.push(next);
    }
    Ok(copies.pop().expect("there is the file, or a copy of it"))
}

/// Gives a file the number that is kept.
///
/// # Errors
/// Where no descriptor is left.
pub(crate) fn keep_below(file: impl AsFd) -> Result<()> {
    dup3(file, &mut *kept()?, OFlag::O_CLOEXEC).map_err(|errno| Error::refused("dup3", errno))
}

fn kept() -> Result<MutexGuard<'static, OwnedFd>> {
    let kept = KEPT.get_or_try_init(|| {
        let nothing = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        nothing.map(Mutex::new).map_err(|errno| Error::refused("open", errno))
    })?;
    Ok(kept.lock().unwrap_or_else(PoisonError::into_inner))
}
