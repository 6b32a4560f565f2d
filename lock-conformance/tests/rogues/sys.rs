//! The unsafe code of the wrong backends.

use std::io;

use nix::libc;

/// Makes a System V semaphore set with one semaphore of the value 1; its id.
pub(super) fn make_semaphore() -> io::Result<i32> {
    // SAFETY: the call takes numbers only.
    let id = checked(unsafe { libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600) })?;
    change_semaphore(id, 1)?;
    Ok(id)
}

/// Adds this to the value of the set's first semaphore, if that is possible without a wait.
pub(super) fn change_semaphore(id: i32, change: i16) -> io::Result<()> {
    let mut step = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: libc::IPC_NOWAIT as i16 };
    // SAFETY: the kernel reads one step, which is there.
    checked(unsafe { libc::semop(id, &raw mut step, 1) }).map(drop)
}

pub(super) fn remove_semaphore(id: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    checked(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }).map(drop)
}

fn checked(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
