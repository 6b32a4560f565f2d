//! The numbers of this process's descriptors: those of locks are above that of its inotify instance.
//!
//! When a process dies, the kernel lets go of its files from the highest number down, since the last that was closed comes first; and
//! letting go of an inotify instance takes it ten milliseconds and more. Locks with a number below would be held for as long. So a
//! number is kept for the instance before the first lock is opened.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lock_core::PerProcess;
use lock_core::{Error, Result};
use lock_table::descriptor::Descriptor;
use lock_table::fork;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// What has the number, until the inotify instance gets it.
static KEPT: PerProcess<Mutex<Kept>> = PerProcess::new();

#[derive(Debug)]
struct Kept {
    number: i32,
    placeholder: Option<Descriptor>,
}

/// A descriptor of the same file above the number that is kept, and that is kept from now on.
///
/// # Errors
/// Where no descriptor is left.
pub(crate) fn above(file: OwnedFd) -> Result<OwnedFd> {
    let kept = kept()?.number;
    let mut copies = vec![file];
    // A copy has the lowest number that is free: those below are filled until one is above.
    while let Some(copy) = copies.pop_if(|copy| copy.as_raw_fd() < kept) {
        let next = copy.try_clone().map_err(|error| Error::refused("fcntl F_DUPFD_CLOEXEC", error))?;
        copies.push(copy);
        copies.push(next);
    }
    Ok(copies.pop().expect("there is the file, or a copy of it"))
}

/// Frees the number that is kept, so that what is opened next gets it or a lower one.
///
/// # Errors
/// Where no descriptor is left.
pub(crate) fn free() -> Result<()> {
    kept()?.placeholder = None;
    Ok(())
}

fn kept() -> Result<MutexGuard<'static, Kept>> {
    let kept = KEPT.get_or_try_init(|| {
        let name = CString::new("lock-file").expect("there is no zero in it");
        let placeholder = fork::undisturbed(|| {
            // A file that no other descriptor has, so that it is told from the program's.
            let file = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC);
            Descriptor::new(file.map_err(|errno| Error::refused("memfd_create", errno))?)
        })?;
        Ok(Mutex::new(Kept { number: placeholder.number(), placeholder: Some(placeholder) }))
    })?;
    Ok(kept.lock().unwrap_or_else(PoisonError::into_inner))
}
