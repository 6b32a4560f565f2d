//! Descriptors by number.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;

/// Closes every descriptor from 3 on except those in `kept`.
pub(crate) fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<_> = kept.iter().map(|number| number.cast_unsigned()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        if first < number {
            close_range(first, number - 1, 0)?;
        }
        first = number + 1;
    }
    close_range(first, libc::c_uint::MAX, 0)
}

/// Sets `FD_CLOEXEC` on every descriptor from 3 on.
pub(crate) fn close_all_on_exec() -> io::Result<()> {
    close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Returns whether the kernel has `close_range` and its flag `CLOSE_RANGE_CLOEXEC` (from Linux 5.11 on).
pub(crate) fn has_close_range() -> bool {
    close_range(libc::c_uint::MAX, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC).is_ok()
}

fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call takes numbers only. The descriptors of the suite are kept; those of the tested library are closed on purpose.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Borrows the descriptor of this number, which may be closed, for system calls.
pub(crate) fn by_number(number: RawFd) -> BorrowedFd<'static> {
    assert!(number >= 0, "{number} is no descriptor");
    // SAFETY: the number is not -1, and it is used in system calls only, which answer EBADF for a closed number.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Makes `number` refer to the open file of `descriptor`, with `FD_CLOEXEC`.
pub(crate) fn duplicate_over(descriptor: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: the call takes numbers only. A descriptor of the tested library is replaced on purpose.
    match unsafe { libc::dup3(descriptor, number, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Returns whether the number is open.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: the call takes numbers only.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

/// Writes the bytes to the number if it is open.
pub(crate) fn write_to(number: RawFd, bytes: &[u8]) -> nix::Result<usize> {
    // SAFETY: the bytes stay borrowed during the call.
    Errno::result(unsafe { libc::write(number, bytes.as_ptr().cast(), bytes.len()) }).map(isize::cast_unsigned)
}
