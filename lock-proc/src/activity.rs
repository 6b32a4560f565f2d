//! What a thread does, in words.

use std::fs;

use crate::scan::Call;
use crate::state::State;

/// The names of system calls in which threads sleep for long.
const NAMES: &[(libc::c_long, &str)] = &[
    (libc::SYS_futex, "futex"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_semtimedop, "semtimedop"),
    (libc::SYS_semop, "semop"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_epoll_pwait, "epoll_wait"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_read, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_rt_sigsuspend, "sigsuspend"),
    (libc::SYS_rt_sigtimedwait, "sigtimedwait"),
    (libc::SYS_mount, "mount"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "pause"),
];

pub(crate) fn of(pid: u32, tid: u32, state: State) -> String {
    match state {
        State::Running => "it runs".to_owned(),
        State::Stopped => "it is stopped by a signal or a debugger".to_owned(),
        State::Ended => "it has ended".to_owned(),
        State::Uninterruptible => format!("it is blocked in {}, mostly by a disk or a network file system", place(pid, tid)),
        State::Sleeping => format!("it sleeps in {}", place(pid, tid)),
    }
}

/// Returns the system call or the function of the kernel in which the thread sleeps.
fn place(pid: u32, tid: u32) -> String {
    if let Ok(Some(call)) = Call::of(pid, tid) {
        return match NAMES.iter().find(|(number, _)| *number == call.number) {
            Some((_, name)) => format!("{name}(2)"),
            None => format!("system call {}", call.number),
        };
    }
    let function = fs::read_to_string(format!("/proc/{pid}/task/{tid}/wchan")).unwrap_or_default();
    match function.trim() {
        "" | "0" => "the kernel".to_owned(),
        function => format!("the kernel's {function}"),
    }
}
