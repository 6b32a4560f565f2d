//! Wrong backends that misinterpret a full file system or a denied file lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lock_core::{Acquired, Deadline, Error, ErrorDetails, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::statvfs::statvfs;

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<DiesInATry>(),
        faulty::<DiesInARelease>(),
        faulty::<TakesDenialsForBusy>(),
        faulty::<TakesDenialsForProcesses>(),
    ]
}

/// The directory of the store that this process opened most recently.
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

fn open_and_remember(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let _ = DIRECTORY.set(url.location().to_owned());
    reference::open(url, mode)
}

/// Kills the process by a signal, as a write to a mapped page without a free block does.
fn die_if_full() {
    let is_full =
        |directory: &PathBuf| statvfs(directory.as_path()).is_ok_and(|facts| facts.blocks() > 0 && facts.blocks_available() == 0);
    if DIRECTORY.get().is_some_and(is_full) {
        std::process::abort();
    }
}

#[derive(Debug)]
struct DiesInATry;

impl Fault for DiesInATry {
    const NAME: &'static str = "dies-in-a-try";
    const FAULT: &'static str = "Writes to a page without a block on disk when it acquires a lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("filesystems::a_file_system_that_runs_full_ends_no_process", "died in \"try_lock")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_remember(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        die_if_full();
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct DiesInARelease;

impl Fault for DiesInARelease {
    const NAME: &'static str = "dies-in-a-release";
    const FAULT: &'static str = "Writes to a page without a block on disk when it releases a lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("filesystems::a_holder_releases_its_lock_on_a_full_file_system", "died in \"unlock")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_remember(url, mode)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        die_if_full();
        honest.release(proof)
    }
}

fn is_denial(error: &Error) -> bool {
    matches!(error.details(), ErrorDetails::System { error, .. } if error.raw_os_error() == Some(libc::EACCES))
}

#[derive(Debug)]
struct TakesDenialsForBusy;

impl Fault for TakesDenialsForBusy {
    const NAME: &'static str = "takes-denials-for-busy";
    const FAULT: &'static str = "Reports a denied file lock as a busy lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("filesystems::denied_file_locks_are_an_error_and_not_a_busy_lock", "busy, which no process holds")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        match honest.acquire(deadline) {
            Err(error) if is_denial(&error) => Ok(Acquired::TimedOut),
            other => other,
        }
    }
}

#[derive(Debug)]
struct TakesDenialsForProcesses;

impl Fault for TakesDenialsForProcesses {
    const NAME: &'static str = "takes-denials-for-processes";
    const FAULT: &'static str = "Reports a denied file lock as too many processes";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "filesystems::a_store_opens_without_file_locks_or_says_what_is_denied",
        "the error has the wrong kind: TooManyProcesses",
    )];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let store = reference::open(url, mode)?;
        if locks_are_denied(url.location()) {
            return Err(Error::too_many_processes(1));
        }
        Ok(store)
    }
}

fn locks_are_denied(store: &Path) -> bool {
    // The lock is far behind the end of the file, where no other lock is.
    let range = libc::flock { l_type: libc::F_RDLCK as _, l_whence: libc::SEEK_SET as _, l_start: 1 << 40, l_len: 1, l_pid: 0 };
    let Ok(file) = File::open(store.join("header")) else { return false };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&range)) == Err(Errno::EACCES)
}
