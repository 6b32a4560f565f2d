//! Threads: the id of the calling one, and whether another one exists.

use std::cell::Cell;

use nix::errno::Errno;

use crate::{fork, sys};

thread_local! {
    /// The thread id, and the fork epoch in which it was read.
    static CACHE: Cell<(u64, u32)> = const { Cell::new((u64::MAX, 0)) };
}

/// Returns the id of the calling thread in its PID namespace (gettid(2)).
///
/// The id is cached: the system call is made once per thread, and again after a fork.
#[inline]
pub fn id() -> u32 {
    let (epoch, id) = CACHE.get();
    if epoch == fork::epoch() { id } else { read_id() }
}

/// Returns whether the process has a thread with this id, both ids in the PID namespace of the caller.
pub fn exists(pid: u32, tid: u32) -> bool {
    sys::thread_exists(pid, tid) != Err(Errno::ESRCH)
}

#[cold]
fn read_id() -> u32 {
    let id = nix::unistd::gettid().as_raw().unsigned_abs();
    CACHE.set((fork::current(), id));
    id
}
