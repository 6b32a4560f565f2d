//! Keeps the descriptors of lock files above that of the inotify instance.
//!
//! When a process dies, the kernel closes its files one after the other, from the highest number to the lowest, and closing an
//! inotify instance takes 10 ms or more. A lock file with a lower number would stay locked for that time. So the process reserves
//! a number for the inotify instance before it opens its first lock file.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_core::PerProcess;
use lock_core::{Error, Result};
use lock_table::descriptor::Descriptor;
use lock_table::fork;
use nix::sys::memfd::{MFdFlags, memfd_create};

static RESERVED: PerProcess<Mutex<Reserved>> = PerProcess::new();

/// The number that is reserved for the inotify instance.
#[derive(Debug)]
struct Reserved {
    number: i32,
    /// Occupies the number until the inotify instance is opened.
    placeholder: Option<Descriptor>,
}

/// Moves a file to a number above the reserved one.
///
/// # Errors
/// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when no number is left.
pub(crate) fn above_reserved(file: OwnedFd) -> Result<OwnedFd> {
    let reserved = reserved()?.number;
    let mut copies = vec![file];
    // A copy gets the lowest free number. So copies fill the numbers below until one is above.
    while let Some(copy) = copies.pop_if(|copy| copy.as_raw_fd() < reserved) {
        let next = copy.try_clone().map_err(|error| Error::system("fcntl F_DUPFD_CLOEXEC", error))?;
        copies.push(copy);
        copies.push(next);
    }
    Ok(copies.pop().expect("the list contains the file or its last copy"))
}

/// Frees the reserved number, so that the next file that is opened gets it or a lower one.
///
/// # Errors
/// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when no number is left.
pub(crate) fn free_reserved() -> Result<()> {
    reserved()?.placeholder = None;
    Ok(())
}

fn reserved() -> Result<MutexGuard<'static, Reserved>> {
    let reserved = RESERVED.get_or_try_init(|| {
        let name = CString::new("lock-file").expect("the name contains no NUL byte");
        let placeholder = fork::retry_across_forks(|| {
            // No other descriptor refers to a new memory file, so it cannot be confused with a file of the program.
            let file = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC);
            Descriptor::new(file.map_err(|errno| Error::system("memfd_create", errno))?)
        })?;
        Ok(Mutex::new(Reserved { number: placeholder.number(), placeholder: Some(placeholder) }))
    })?;
    Ok(reserved.lock().unwrap_or_else(PoisonError::into_inner))
}
