//! Tracing of a thread's system calls.

use std::fs;
use std::io;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A traced thread, which is detached on drop.
///
/// The kernel allows only the thread that started the trace to use it.
pub(crate) struct Trace {
    thread: Pid,
    /// Whether the thread is in a system call.
    inside: bool,
}

/// A system call: its number and its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    number: i64,
    arguments: [u64; 6],
}

/// Returns whether this process can trace its children.
///
/// Yama may restrict this to root. Only the registers of x86-64 are supported.
pub(crate) fn can_trace() -> bool {
    let forbidden = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() >= "2");
    cfg!(target_arch = "x86_64") && (!forbidden || nix::unistd::geteuid().is_root())
}

impl Trace {
    /// Traces a thread of a child, or of any process if that is allowed.
    pub(crate) fn of(tid: u32) -> nix::Result<Self> {
        let thread = Pid::from_raw(tid.cast_signed());
        ptrace::seize(thread, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
        ptrace::interrupt(thread)?;
        waitpid(thread, Some(WaitPidFlag::__WALL))?;
        ptrace::syscall(thread, None)?;
        Ok(Self { thread, inside: false })
    }

    /// Runs the thread until `is_done` returns true; returns the system calls that it has started.
    pub(crate) fn follow(&mut self, mut is_done: impl FnMut() -> bool, deadline: Instant) -> io::Result<Vec<Call>> {
        let mut calls = Vec::new();
        while !is_done() {
            match waitpid(self.thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive if Instant::now() > deadline => return Err(io::ErrorKind::TimedOut.into()),
                WaitStatus::StillAlive => std::thread::yield_now(),
                WaitStatus::PtraceSyscall(_) => {
                    self.inside = !self.inside;
                    if self.inside {
                        calls.push(Call::begun_by(self.thread)?);
                    }
                    ptrace::syscall(self.thread, None)?;
                }
                WaitStatus::Stopped(_, signal) => ptrace::syscall(self.thread, signal)?,
                WaitStatus::PtraceEvent(..) => ptrace::syscall(self.thread, None)?,
                _ => return Err(Errno::ESRCH.into()),
            }
        }
        Ok(calls)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let stop = || -> nix::Result<()> {
            ptrace::interrupt(self.thread)?;
            waitpid(self.thread, Some(WaitPidFlag::__WALL))?;
            ptrace::detach(self.thread, None)
        };
        // The thread may be dead.
        let _ = stop();
    }
}

impl Call {
    #[cfg(target_arch = "x86_64")]
    fn begun_by(thread: Pid) -> nix::Result<Self> {
        let r = ptrace::getregs(thread)?;
        Ok(Self { number: r.orig_rax.cast_signed(), arguments: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn begun_by(_: Pid) -> nix::Result<Self> {
        Err(Errno::ENOSYS)
    }

    /// Returns the name of the call if its duration or its result depends on a clock that can be set.
    pub(crate) fn on_a_clock_that_can_be_set(&self) -> Option<&'static str> {
        const REALTIME: u64 = libc::CLOCK_REALTIME as u64;
        let [a, b, _, d, e, _] = self.arguments;
        let (operation, flags) = (b & 0x7f, b);
        let by_the_clock = flags & libc::FUTEX_CLOCK_REALTIME as u64 != 0 || operation == libc::FUTEX_LOCK_PI as u64;
        let absolute = b & libc::TIMER_ABSTIME as u64 != 0;
        match self.number {
            libc::SYS_futex if d != 0 && by_the_clock && waits(operation) => Some("futex"),
            libc::SYS_futex_waitv if d != 0 && e == REALTIME => Some("futex_waitv"),
            libc::SYS_clock_nanosleep if a == REALTIME && absolute => Some("clock_nanosleep"),
            libc::SYS_timer_create if a == REALTIME => Some("timer_create"),
            libc::SYS_timerfd_create if a == REALTIME => Some("timerfd_create"),
            libc::SYS_mq_timedreceive if e != 0 => Some("mq_timedreceive"),
            libc::SYS_clock_gettime if a == REALTIME => Some("clock_gettime"),
            _ => None,
        }
    }
}

/// Returns whether a futex operation waits.
///
/// In other operations, the argument of the deadline is a number.
fn waits(operation: u64) -> bool {
    [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET, libc::FUTEX_LOCK_PI, libc::FUTEX_WAIT_REQUEUE_PI]
        .iter()
        .any(|wait| *wait as u64 == operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn futex(operation: i32, deadline: u64) -> Option<&'static str> {
        let arguments = [0x1000, operation as u64, 1, deadline, 0, u64::from(u32::MAX)];
        Call { number: libc::SYS_futex, arguments }.on_a_clock_that_can_be_set()
    }

    #[test]
    fn waits_by_the_realtime_clock_are_recognised() {
        let (bitset, wall) = (libc::FUTEX_WAIT_BITSET, libc::FUTEX_CLOCK_REALTIME);
        assert_eq!(futex(bitset | wall, 0x2000), Some("futex"));
        assert_eq!(futex(bitset | wall | libc::FUTEX_PRIVATE_FLAG, 0x2000), Some("futex"));
        assert_eq!(futex(bitset | wall, 0), None, "it has no deadline");
        assert_eq!(futex(bitset, 0x2000), None);
        assert_eq!(futex(libc::FUTEX_WAIT, 0x2000), None, "it has a timeout on the monotonic clock");
        assert_eq!(futex(libc::FUTEX_WAKE, 0x2000), None);
        let sleep = |clock: i32, flags: i32| {
            let arguments = [clock as u64, flags as u64, 0x2000, 0, 0, 0];
            Call { number: libc::SYS_clock_nanosleep, arguments }.on_a_clock_that_can_be_set()
        };
        assert_eq!(sleep(libc::CLOCK_REALTIME, libc::TIMER_ABSTIME), Some("clock_nanosleep"));
        assert_eq!(sleep(libc::CLOCK_REALTIME, 0), None, "the duration is relative");
        assert_eq!(sleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME), None);
    }
}
