//! A process that shows whether a signal was sent to the whole process group.
//!
//! A signal does not say whether it was sent to a process or to its group. The witness is in the same group, and blocks all signals:
//! a signal to the group is pending in it, and a signal to its parent is not. It holds no file but its socket, and has neither the name
//! nor the arguments of its parent, so that `pkill` and `fuser` do not find it with its parent.

use std::fs;
use std::io::{Read, Write};
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::libc::{self, c_int, siginfo_t, sigset_t};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::signal::Received;

/// Time to wait for an answer. The witness may be stopped.
const PATIENCE: Duration = Duration::from_millis(100);

/// The name of the process, at most 15 bytes.
const NAME: &[u8; 14] = b"group-witness\0";

/// A child in the process group of this process, with all signals blocked.
pub(crate) struct Witness {
    process: Pid,
    socket: UnixStream,
}

impl Witness {
    /// Starts the process. Returns `None` if it cannot be started, for example because of a limit.
    ///
    /// The caller has blocked its signals.
    pub(crate) fn start() -> Option<Self> {
        let arguments = Arguments::find()?;
        let (socket, other) = UnixStream::pair().ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        // SAFETY: the child calls only async-signal-safe functions, in `witness`, and does not return.
        match unsafe { fork() }.ok()? {
            // SAFETY: this is the child, which has one thread.
            ForkResult::Child => unsafe { witness(other.as_raw_fd(), &arguments) },
            ForkResult::Parent { child } => Some(Self { process: child, socket }),
        }
    }

    /// Whether the process group has got the signal. Returns `None` if the witness does not answer.
    ///
    /// An answer is given once: the witness forgets the signal.
    pub(crate) fn has_got(&mut self, signal: &Received) -> Option<bool> {
        let number = u8::try_from(signal.number()).ok()?;
        self.socket.write_all(&[number]).ok()?;
        let mut sender = [0; size_of::<c_int>()];
        self.socket.read_exact(&mut sender).ok()?;
        Some(c_int::from_ne_bytes(sender) == signal.sender())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Errors are ignored: the process may have been killed.
        let _ = kill(self.process, Signal::SIGKILL);
        let _ = waitpid(self.process, None);
    }
}

/// The bytes of the command line in memory, as the kernel shows them in `/proc/PID/cmdline`.
struct Arguments {
    start: usize,
    length: usize,
}

impl Arguments {
    /// Finds the command line by `arg_start` and `arg_end` in `/proc/self/stat`.
    fn find() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
        let (start, end): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (start != 0).then_some(Self { start, length: end.checked_sub(start)? })
    }
}

/// Answers requests until the parent ends. A request is the number of a signal. The answer is the pid of the sender of that signal, which
/// is 0 for the kernel, or -1 if the signal is not pending.
///
/// # Safety
/// Called in a forked child with one thread. The arguments are those of this process.
unsafe fn witness(socket: c_int, arguments: &Arguments) -> ! {
    // SAFETY: only async-signal-safe functions are called, with valid locals. The arguments are on the stack of this process, which the
    // kernel made writable; nothing reads them after this.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        std::ptr::write_bytes(std::ptr::with_exposed_provenance_mut::<u8>(arguments.start), 0, arguments.length);
        let all = SigSet::all();
        let all: *const sigset_t = all.as_ref();
        libc::pthread_sigmask(libc::SIG_SETMASK, all, std::ptr::null_mut());
        // A pipe that the parent has open would not be seen as closed by its reader.
        if libc::dup2(socket, 0) != 0 || libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) != 0 {
            libc::_exit(1);
        }
        loop {
            let mut number = 0u8;
            match libc::read(0, (&raw mut number).cast(), 1) {
                1 => {}
                -1 if *libc::__errno_location() == libc::EINTR => continue,
                _ => libc::_exit(0),
            }
            let mut only: sigset_t = zeroed();
            libc::sigemptyset(&raw mut only);
            libc::sigaddset(&raw mut only, number.into());
            let mut info = MaybeUninit::<siginfo_t>::zeroed();
            let no_time: libc::timespec = zeroed();
            let got = libc::sigtimedwait(&raw const only, info.as_mut_ptr(), &raw const no_time);
            let sender = if got > 0 { Received::new(info.assume_init()).sender() } else { -1 };
            libc::write(0, (&raw const sender).cast(), size_of::<c_int>());
        }
    }
}
