//! The unsafe code of the wrong backends, each piece behind a safe function.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};

use nix::libc;

/// The descriptor of this number, which may be closed, for system calls.
pub(super) fn by_number(number: RawFd) -> BorrowedFd<'static> {
    assert!(number >= 0, "{number} is no descriptor");
    // SAFETY: the number is not -1, and it is used in system calls only, which answer EBADF for a closed number.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Registers handlers for every later `fork` of the process.
pub(super) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    // SAFETY: the functions are part of this program and are never unloaded.
    let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    assert_eq!(failed, 0, "there is memory for three function pointers");
}

/// Whether libc has registered a robust list for the calling thread, which it does at the start of a thread and in `_Fork`.
pub(super) fn has_robust_list() -> bool {
    let (mut head, mut length) = (MaybeUninit::<*const u8>::uninit(), MaybeUninit::<usize>::uninit());
    // SAFETY: the kernel writes a pointer and a length to where there is room for them, or fails.
    let failed = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, head.as_mut_ptr(), length.as_mut_ptr()) };
    // SAFETY: the call succeeded, so that it has written the pointer.
    failed == 0 && !unsafe { head.assume_init() }.is_null()
}
