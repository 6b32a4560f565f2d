//! The holder of a lock and the threads that wait for it, from `/proc`. LXC records neither.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lock_core::{Error, HeldBy, Holder, LockId, Result, Waiter, Waits};
use lock_proc::{FileId, Thread};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// Returns the holder of the lock with this file.
pub(super) fn held_by(file: &Path) -> HeldBy {
    match find_holder(file) {
        Ok(held_by) => held_by,
        Err(error) => HeldBy::unknown(format!("{} cannot be examined: {error}", file.display())),
    }
}

fn find_holder(file: &Path) -> io::Result<HeldBy> {
    let id = FileId::of(file)?;
    if !is_locked(file)? {
        return Ok(HeldBy::Free);
    }
    let users = lock_proc::file_users(&id);
    // A process with a guard of this crate has closed the descriptor, and keeps its description by a mapping.
    let with_guard = || users.found.iter().find(|user| user.is_mapped && user.descriptors == 0);
    let holder = users.found.iter().find(|user| user.has_lock).or_else(with_guard);
    Ok(match (holder, users.unseen) {
        (Some(holder), _) => HeldBy::Holder(of_process(holder.process.clone())),
        (None, Some(unseen)) => HeldBy::unknown(unseen.to_string()),
        (None, None) => HeldBy::unknown("no process in this PID namespace has it locked"),
    })
}

/// Returns this process as a holder.
pub(super) fn this_process() -> Holder {
    let pid = std::process::id();
    Thread::find(pid).map_or_else(|| Holder::of_process(pid), of_process)
}

/// Returns the process as a holder. The thread that has the lock is unknown.
fn of_process(process: Thread) -> Holder {
    Holder::from(process).with_thread(0)
}

/// Returns the threads that wait for the lock with this file.
///
/// A waiter of this crate with a deadline does not sleep in fcntl(2). Its process has the file open and mapped, and not locked.
pub(super) fn waiting(file: &Path) -> Result<Waits> {
    let id = match FileId::of(file) {
        Ok(id) => id,
        // The first acquisition creates it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Waits::default()),
        Err(error) => return Err(Error::system("lstat", error).at(file)),
    };
    let (sleeping, users) = (lock_proc::file_lock_waiters(&id), lock_proc::file_users(&id));
    let incomplete = users.unseen.or(sleeping.unseen).map(|unseen| unseen.to_string());
    let in_call = |pid| sleeping.found.iter().any(|thread| thread.pid == pid);
    let with_deadline = users
        .found
        .into_iter()
        .filter(|user| user.is_mapped && user.descriptors > 0 && !user.has_lock && !in_call(user.process.pid));
    let with_deadline = with_deadline.map(|user| Waiter::new(LockId::new(0), of_process(user.process)));
    let mut waiters: Vec<_> = with_deadline.collect();
    waiters.extend(sleeping.found.iter().map(|thread| {
        let waited = thread.asleep();
        Waiter::new(LockId::new(0), thread.clone().into()).with_waited(waited)
    }));
    Ok(Waits::new(waiters, incomplete))
}

/// Returns whether a process has the file locked, without locking it.
fn is_locked(file: &Path) -> io::Result<bool> {
    let file = File::options().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(file)?;
    let mut lock = libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}
