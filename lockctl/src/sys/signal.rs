//! Signals by number. `nix` has no real-time signals.

use std::mem::{MaybeUninit, zeroed};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_int, siginfo_t, sigset_t};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

/// The highest number of a signal on x86-64 and aarch64.
const LAST: c_int = 64;

/// Whether SIGPIPE was ignored when the program was started. Rust's runtime ignores it before `main`.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Reads the action of SIGPIPE. The C library calls it before `main`.
extern "C" fn read_sigpipe() {
    SIGPIPE_WAS_IGNORED.store(action_of(libc::SIGPIPE) == Some(libc::SIG_IGN), Relaxed);
}

#[used]
// SAFETY: the C library calls each pointer in this section once, before `main`, with the C calling convention, in which a function may
// have fewer parameters than the caller passes. The function only calls sigaction, and needs nothing of Rust's runtime.
#[unsafe(link_section = ".init_array")]
static READ_SIGPIPE: extern "C" fn() = read_sigpipe;

/// Returns the action of a signal: `SIG_DFL`, `SIG_IGN` or a handler; `None` for a number without a signal.
fn action_of(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: all-zero bytes are a valid sigaction. With a null pointer for the new action, the call only writes the old one.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        (libc::sigaction(signal, ptr::null(), &raw mut action) == 0).then_some(action.sa_sigaction)
    }
}

/// Returns whether the signal has its default action.
fn is_at_default(signal: c_int) -> bool {
    action_of(signal) == Some(libc::SIG_DFL)
}

/// Sets the action of a signal: `SIG_DFL`, `SIG_IGN`, or a handler that may interrupt any code.
///
/// # Safety
/// A handler must be an `extern "C" fn(c_int)` that is async-signal-safe.
unsafe fn set_action(signal: c_int, action: libc::sighandler_t) -> nix::Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction with an empty mask and no flags; the caller vouches for the handler.
    let result = unsafe {
        let mut new: libc::sigaction = zeroed();
        new.sa_sigaction = action;
        libc::sigaction(signal, &raw const new, ptr::null_mut())
    };
    Errno::result(result).map(drop)
}

/// Sets the default action of SIGCHLD, so that children can be waited for even if SIGCHLD was ignored when this program was started.
pub(crate) fn reset_sigchld() -> nix::Result<()> {
    // SAFETY: the default action installs no handler.
    unsafe { set_action(libc::SIGCHLD, libc::SIG_DFL) }
}

/// The signals that were ignored when this program was started. `nohup` ignores SIGHUP, a shell ignores SIGINT for background
/// commands, and systemd ignores SIGPIPE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IgnoredSignals(u64);

impl IgnoredSignals {
    /// Reads the actions. Called before [`reset_sigchld`].
    pub(crate) fn at_start() -> Self {
        let is_ignored = |&signal: &c_int| match signal {
            libc::SIGPIPE => SIGPIPE_WAS_IGNORED.load(Relaxed),
            _ => action_of(signal) == Some(libc::SIG_IGN),
        };
        Self((1..=LAST).filter(is_ignored).fold(0, |mask, signal| mask | 1 << (signal - 1)))
    }

    pub(crate) fn contains(self, signal: c_int) -> bool {
        self.0 >> (signal - 1) & 1 != 0
    }

    /// Gives SIGPIPE and SIGCHLD the actions for a program to execute: they are ignored if they were so at the start of this program, and
    /// have their default actions otherwise. No other signal was ignored since. Async-signal-safe.
    pub(super) fn set_for_program(self) -> nix::Result<()> {
        for signal in [libc::SIGPIPE, libc::SIGCHLD] {
            let action = if self.contains(signal) { libc::SIG_IGN } else { libc::SIG_DFL };
            // SAFETY: neither installs a handler.
            unsafe { set_action(signal, action) }?;
        }
        Ok(())
    }
}

/// Returns the set of all signals that are not ignored, and SIGCHLD.
pub(crate) fn set_of_others(ignored: IgnoredSignals) -> SigSet {
    let mut set = *SigSet::all().as_ref();
    for signal in (1..=LAST).filter(|&signal| signal != libc::SIGCHLD && ignored.contains(signal)) {
        // SAFETY: the set is initialized. A number that the C library refuses changes nothing.
        unsafe { libc::sigdelset(&raw mut set, signal) };
    }
    // SAFETY: the set is initialized.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// A signal that was received.
pub(crate) struct Received(siginfo_t);

impl Received {
    pub(super) fn new(info: siginfo_t) -> Self {
        Self(info)
    }

    pub(crate) fn number(&self) -> c_int {
        self.0.si_signo
    }

    /// Whether the kernel sent the signal, and no process.
    pub(crate) fn is_from_kernel(&self) -> bool {
        self.0.si_code == libc::SI_KERNEL
    }

    /// Whether this process sent the signal itself.
    pub(crate) fn is_own(&self) -> bool {
        self.sender() == Pid::this().as_raw()
    }

    /// The pid of the sender; 0 if the kernel sent the signal, or a process outside of the PID namespace. Async-signal-safe.
    pub(super) fn sender(&self) -> c_int {
        match self.0.si_code {
            // SAFETY: with these codes, the kernel has written the pid.
            libc::SI_USER | libc::SI_TKILL | libc::SI_QUEUE => unsafe { self.0.si_pid() },
            _ => 0,
        }
    }
}

/// The longest timeout of one call, which every system call accepts.
const LONGEST: Duration = Duration::from_secs(1 << 30);

/// Waits for a blocked signal of the set. Returns `None` after the timeout, and may do so earlier.
pub(crate) fn receive(set: &SigSet, timeout: Option<Duration>) -> nix::Result<Option<Received>> {
    let set: *const sigset_t = set.as_ref();
    let mut info = MaybeUninit::<siginfo_t>::uninit();
    let result = match timeout {
        // SAFETY: the set is valid, and the kernel writes the information before it returns a number.
        None => unsafe { libc::sigwaitinfo(set, info.as_mut_ptr()) },
        Some(timeout) => {
            let timeout = TimeSpec::from_duration(timeout.min(LONGEST));
            // SAFETY: as above; the time is a valid local.
            unsafe { libc::sigtimedwait(set, info.as_mut_ptr(), timeout.as_ref()) }
        }
    };
    match Errno::result(result) {
        // SAFETY: the call has returned a signal, so the information is written.
        Ok(_) => Ok(Some(Received::new(unsafe { info.assume_init() }))),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sends the signal to a child, with the value of `sigqueue(3)` if it has one.
pub(crate) fn forward(child: Pid, signal: &Received) {
    // An error is ignored: the command may have ended. It is not reaped, so its pid is not reused.
    //
    // SAFETY: both calls read their arguments only. A process may send a copy of queued information, which has a negative code.
    unsafe {
        match signal.0.si_code {
            libc::SI_QUEUE => {
                let info: *const siginfo_t = &raw const signal.0;
                libc::syscall(libc::SYS_rt_sigqueueinfo, child.as_raw(), signal.number(), info);
            }
            _ => {
                libc::kill(child.as_raw(), signal.number());
            }
        }
    }
}

/// Takes the default action of a blocked signal, and returns if it does not end the process.
pub(crate) fn take_default_action(signal: c_int) {
    // SAFETY: SIG_DFL installs no handler, and the set is a valid local. An error changes nothing.
    unsafe {
        if set_action(signal, libc::SIG_DFL).is_err() && !matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
            return;
        }
        let mut only: sigset_t = zeroed();
        libc::sigemptyset(&raw mut only);
        libc::sigaddset(&raw mut only, signal);
        // In the calling thread, which is the only one that can unblock it here.
        libc::raise(signal);
        let mut before: sigset_t = zeroed();
        if libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, &raw mut before) == 0 {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        }
    }
}

/// Ends the process by a signal without a core file. Returns if the signal cannot end it, for example as PID 1.
pub(crate) fn end_by_signal(signal: c_int) {
    // Errors are ignored: the process ends in any case. A core file that is piped to a program has no limit on its size.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
    take_default_action(signal);
}

/// The signal that was caught by [`catch_while_waiting`], or 0.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// Whether such a signal is recorded. Otherwise it ends the process.
static IS_RECORDED: AtomicBool = AtomicBool::new(false);

/// Records the signal, or exits with 128 + N.
extern "C" fn end_wait(signal: c_int) {
    if IS_RECORDED.load(Acquire) {
        CAUGHT.store(signal, Release);
    } else {
        // SAFETY: `_exit` is async-signal-safe.
        unsafe { libc::_exit(128 + signal) }
    }
}

/// Catches each signal that would end the process. The process exits with 128 + N, also as PID 1. With `records`, it goes on, and
/// [`caught_while_waiting`] returns the signal.
///
/// Signals of faults are not caught.
pub(crate) fn catch_while_waiting(records: bool) {
    IS_RECORDED.store(records, Release);
    let is_harmless = |signal: c_int| {
        use libc::{SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
        [SIGCHLD, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH].contains(&signal)
    };
    let is_fault = |signal: c_int| [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP].contains(&signal);
    for signal in (1..=LAST).filter(|&signal| !is_harmless(signal) && !is_fault(signal) && is_at_default(signal)) {
        // SAFETY: the handler is an `extern "C" fn(c_int)`. It only reads and writes atomics, or calls `_exit`. An error (SIGKILL,
        // SIGSTOP, a signal of the C library) leaves the action unchanged.
        let _ = unsafe { set_action(signal, end_wait as *const () as libc::sighandler_t) };
    }
}

/// Sets the default action of each signal that [`catch_while_waiting`] catches.
pub(crate) fn stop_catching() {
    for signal in (1..=LAST).filter(|&signal| action_of(signal) == Some(end_wait as *const () as libc::sighandler_t)) {
        // SAFETY: the default action installs no handler.
        let _ = unsafe { set_action(signal, libc::SIG_DFL) };
    }
}

/// Returns the signal that was recorded last.
pub(crate) fn caught_while_waiting() -> Option<c_int> {
    Some(CAUGHT.load(Acquire)).filter(|&signal| signal != 0)
}
