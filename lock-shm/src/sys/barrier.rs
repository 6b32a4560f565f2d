//! Memory barriers on the threads of other processes.

/// Executes a full memory barrier on every running thread of every registered process.
///
/// Returns false if the system does not have the call or forbids it.
#[cold]
pub(crate) fn barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

/// Calls membarrier(2).
pub(super) fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call has no pointer arguments and accesses no memory of the process.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
