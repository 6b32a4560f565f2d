//! Memory barriers for all threads.

/// Every thread of every process that takes part comes to a full memory barrier before this returns. False when the system has no
/// such call, or forbids it.
#[cold]
pub(crate) fn barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

/// See membarrier(2).
pub(super) fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call touches no memory of the program's.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
