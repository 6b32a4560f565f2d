//! The files of locks, their owners and their waiters.
//!
//! podman locks a file with fcntl(2) for its process (`F_SETLKW`), and `F_GETLK` returns the id of that process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lock_core::{Error, HeldBy, HeldLock, Holder, LockId, Result, Waiter, Waits};
use lock_proc::{FileId, Thread};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Returns the file of an id.
pub(super) fn file_of(directory: &Path, id: LockId) -> PathBuf {
    directory.join(id.to_string())
}

/// Returns the allocated ids in ascending order: those whose file exists.
pub(super) fn ids(directory: &Path) -> Result<Vec<LockId>> {
    let entries = fs::read_dir(directory).map_err(|error| Error::system("opendir", error).at(directory))?;
    let number = |entry: io::Result<fs::DirEntry>| -> Option<u32> {
        let name = entry.ok()?.file_name();
        let number: u32 = name.to_str()?.parse().ok()?;
        // Not `+1` or `01`.
        (number.to_string().as_str() == name).then_some(number)
    };
    let mut ids: Vec<_> = entries.filter_map(number).map(LockId::new).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Returns the locked files with their owners.
pub(super) fn held(directory: &Path) -> Result<Vec<HeldLock>> {
    let mut held = Vec::new();
    for id in ids(directory)? {
        match held_by(&file_of(directory, id)) {
            Ok(HeldBy::Free) => {}
            Ok(HeldBy::Unknown { reason }) => {
                let mut lock = HeldLock::new(id, None);
                lock.doubt = Some(reason);
                held.push(lock);
            }
            Ok(owner) => held.push(HeldLock::new(id, owner.holder().cloned())),
            // podman has freed the id.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::system("open", error).at(&file_of(directory, id))),
        }
    }
    Ok(held)
}

/// Returns the owner of the lock on this file.
pub(super) fn held_by(file: &Path) -> io::Result<HeldBy> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits()).open(file)?;
    let mut lock = libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock))?;
    if lock.l_type == libc::F_UNLCK as libc::c_short {
        return Ok(HeldBy::Free);
    }
    Ok(match u32::try_from(lock.l_pid) {
        Ok(pid @ 1..) => {
            let thread = Thread::find(pid).map(|thread| Holder::from(thread).with_thread(0));
            HeldBy::Holder(thread.unwrap_or_else(|| Holder::of_process(pid)))
        }
        // 0: a process of another PID namespace. -1: a lock of an open file description.
        _ => HeldBy::unknown("the kernel names no process: the owner is in another PID namespace, or is not podman"),
    })
}

/// Returns the threads that wait for locked files.
pub(super) fn waiting(directory: &Path) -> Result<Waits> {
    let (mut waiters, mut incomplete) = (Vec::new(), None);
    for lock in held(directory)? {
        let Ok(file) = FileId::of(&file_of(directory, lock.id)) else { continue };
        let found = lock_proc::file_lock_waiters(&file);
        incomplete = incomplete.or(found.unseen.map(|unseen| unseen.to_string()));
        waiters.extend(found.found.into_iter().map(|thread| {
            let waited = thread.asleep();
            Waiter::new(lock.id, thread.into()).with_waited(waited)
        }));
    }
    Ok(Waits::new(waiters, incomplete))
}
