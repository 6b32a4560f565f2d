//! System calls that a process denies to itself.

use std::io;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};
use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;

/// Offsets in the kernel's `struct seccomp_data`: the number of the call, and the low half of its second argument.
const NUMBER: u32 = 0;
const SECOND_ARGUMENT: u32 = 24;

/// Makes the kernel refuse each open-file-description lock with EACCES, in all threads of this process and in its children, until they
/// end. A security module does the same.
pub(crate) fn deny_file_locks() -> io::Result<()> {
    let load = |offset| step(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
    let skip = |value, equal, other| step(BPF_JMP | BPF_JEQ | BPF_K, value, equal, other);
    let answer = |action| step(BPF_RET | BPF_K, action, 0, 0);
    let mut program = [
        load(NUMBER),
        skip(libc::SYS_fcntl as u32, 0, 3),
        load(SECOND_ARGUMENT),
        skip(libc::F_OFD_SETLK as u32, 2, 0),
        skip(libc::F_OFD_SETLKW as u32, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | Errno::EACCES as u32),
    ];
    let filter = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_no_new_privs()?;
    // SAFETY: the kernel reads the filter and the program that it points to. Both live until the call is over.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC, &raw const filter)
    };
    match done {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("the thread {thread} has another filter"))),
    }
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
