//! All unsafe code of the crate, here and in the submodules, behind safe functions.

mod denials;
mod descriptors;
mod forks;
#[cfg(feature = "sweep")]
mod memory;

use std::ffi::{CStr, CString, c_int};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeSpec;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;

pub(crate) use denials::deny_file_locks;
pub(crate) use descriptors::{by_number, close_all_but, close_all_on_exec, duplicate_over, has_close_range, is_open, write_to};
pub(crate) use forks::{Fork, at_fork, fork};
#[cfg(feature = "sweep")]
pub use memory::Memory;

/// File with the last pid of a PID namespace.
///
/// A write of `n` makes the kernel use `n + 1` for the next process.
pub(crate) const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// File with the id of the next System V semaphore set of an IPC namespace.
pub(crate) const NEXT_SET: &str = "/proc/sys/kernel/sem_next_id";

/// Returns whether this process may create these namespaces.
pub(crate) fn can_unshare(namespaces: CloneFlags) -> bool {
    can(|| unshare(namespaces))
}

/// Returns whether an attempt succeeds, in a child that does nothing else.
pub(crate) fn can<T, E>(attempt: impl FnOnce() -> Result<T, E>) -> bool {
    // SAFETY: libc makes the allocator usable in the child of a threaded process. The child makes system calls only and exits.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => exit_now(i32::from(attempt().is_err())),
        Ok(ForkResult::Parent { child }) => matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))),
        Err(_) => false,
    }
}

/// Enters a new user namespace as its root, and new namespaces of these kinds in it.
///
/// The kernel refuses this to a process with several threads.
pub(crate) fn enter_user_namespace(others: CloneFlags) -> io::Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | others)?;
    // The kernel requires this before an unprivileged process may map a group.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Returns whether this process may enter a user namespace.
pub(crate) fn can_enter_user_namespace() -> bool {
    can(|| enter_user_namespace(CloneFlags::CLONE_NEWPID))
}

/// Mounts an empty tmpfs of this many bytes over the directory, visible to this thread only.
pub(crate) fn mount_tmpfs_apart(directory: &CStr, bytes: usize) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let mount = |kind: &CStr, target: &CStr, flags: libc::c_ulong, options: &CStr| {
        // SAFETY: all pointers are NUL-terminated strings that outlive the call.
        match unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    let options = CString::new(format!("size={bytes}")).expect("the options contain no NUL");
    mount(c"tmpfs", directory, 0, &options)
}

/// Replaces `fd` by `/dev/null`. This closes the previous file and keeps the number in use.
pub(crate) fn give_up(fd: RawFd) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: both numbers are open descriptors of this process. The owner of `fd` still owns an open descriptor.
    match unsafe { libc::dup3(null.as_raw_fd(), fd, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Maps the first `words` words of the file, shared with other processes, until this process ends.
pub(crate) fn map_words(file: &File, words: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = words * size_of::<AtomicU64>();
    if file.metadata()?.len() < bytes as u64 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than the mapping"));
    }
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping at an address that the kernel chooses replaces no other mapping.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is page-aligned, as long as the slice, and never unmapped. The file is long enough and is not truncated.
    // Other processes may change atomics at any time.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), words) })
}

/// Returns the number of allocated bytes of glibc's allocator, a 32-bit counter; `None` with other C libraries.
pub(crate) fn bytes_in_use() -> Option<u32> {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no arguments and returns counters.
    let bytes = Some(unsafe { libc::mallinfo() }.uordblks.cast_unsigned());
    #[cfg(not(target_env = "gnu"))]
    let bytes = None;
    bytes
}

/// Creates a System V semaphore set with this value in each semaphore; returns its id.
pub(crate) fn make_semaphore_set(size: usize, value: u16) -> io::Result<c_int> {
    let count = c_int::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the call takes numbers only.
    let id = checked(unsafe { libc::semget(libc::IPC_PRIVATE, count, libc::IPC_CREAT | 0o600) })?;
    let values = vec![value; size];
    // SAFETY: the set has `size` semaphores, and the kernel reads `size` values, which is the length of the vector.
    checked(unsafe { libc::semctl(id, 0, libc::SETALL, values.as_ptr()) })?;
    Ok(id)
}

/// Returns the value of a semaphore of a System V set.
pub(crate) fn semaphore_value(id: c_int, semaphore: c_int) -> io::Result<c_int> {
    // SAFETY: the call takes numbers only.
    checked(unsafe { libc::semctl(id, semaphore, libc::GETVAL) })
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Number of words of a libc mutex.
pub(crate) const MUTEX_WORDS: usize = size_of::<libc::pthread_mutex_t>().div_ceil(size_of::<AtomicU64>());

/// A robust libc mutex in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct RobustMutex(&'static [AtomicU64]);

/// The result of an attempt to lock a mutex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutexed {
    Locked,
    /// Locked, after the owner died.
    OwnerDied,
    Busy,
}

/// Creates a mutex in these words, which are zero and have no other use.
pub(crate) fn make_robust_mutex(words: &'static [AtomicU64]) -> io::Result<RobustMutex> {
    let mutex = find_robust_mutex(words)?;
    let mut kind = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: the first call initialises the attributes, which the others change and read. `find_robust_mutex` checks the size and
    // alignment of the mutex, and no thread uses it yet.
    unsafe {
        no_error(libc::pthread_mutexattr_init(kind.as_mut_ptr()))?;
        no_error(libc::pthread_mutexattr_setpshared(kind.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED))?;
        no_error(libc::pthread_mutexattr_setrobust(kind.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST))?;
        no_error(libc::pthread_mutex_init(mutex.pointer(), kind.as_ptr()))?;
    }
    Ok(mutex)
}

/// Returns the mutex in these words.
pub(crate) fn find_robust_mutex(words: &'static [AtomicU64]) -> io::Result<RobustMutex> {
    const { assert!(align_of::<libc::pthread_mutex_t>() <= align_of::<AtomicU64>()) };
    if words.len() < MUTEX_WORDS {
        return Err(io::Error::other("too few words for a mutex"));
    }
    Ok(RobustMutex(words))
}

impl RobustMutex {
    fn pointer(self) -> *mut libc::pthread_mutex_t {
        // Atomics are mutable through a shared reference.
        self.0.as_ptr().cast_mut().cast()
    }

    pub(crate) fn try_lock(self) -> io::Result<Mutexed> {
        // SAFETY: the words stay mapped and contain a mutex. In glibc and musl, zeros are a valid mutex.
        match unsafe { libc::pthread_mutex_trylock(self.pointer()) } {
            libc::EBUSY => Ok(Mutexed::Busy),
            libc::EOWNERDEAD => {
                // SAFETY: as above, and this thread has locked the mutex.
                no_error(unsafe { libc::pthread_mutex_consistent(self.pointer()) })?;
                Ok(Mutexed::OwnerDied)
            }
            code => no_error(code).map(|()| Mutexed::Locked),
        }
    }

    pub(crate) fn unlock(self) -> io::Result<()> {
        // SAFETY: as in `try_lock`. A robust mutex refuses a thread that has not locked it.
        no_error(unsafe { libc::pthread_mutex_unlock(self.pointer()) })
    }
}

fn no_error(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

static INTERRUPTIONS: AtomicU64 = AtomicU64::new(0);

/// Makes `signal` interrupt system calls (no `SA_RESTART`), and counts it.
pub(crate) fn interrupt_on(signal: Signal) -> nix::Result<()> {
    extern "C" fn count(_: c_int) {
        INTERRUPTIONS.fetch_add(1, Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler executes one atomic operation, which is async-signal-safe.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Sends a signal to a thread of this process at this interval, until the process ends.
pub(crate) fn signal_every(signal: Signal, thread: libc::pid_t, interval: Duration) -> nix::Result<()> {
    // SAFETY: zeros are a valid value of this structure of numbers and a pointer.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal as c_int;
    event.sigev_notify_thread_id = thread;
    let mut timer = ptr::null_mut();
    // SAFETY: the call reads the event and writes the timer id, and both pointers are valid.
    Errno::result(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
    let interval = TimeSpec::from_duration(interval);
    let times = libc::itimerspec { it_interval: *interval.as_ref(), it_value: *interval.as_ref() };
    // SAFETY: the timer was created above and is never deleted; the call reads the times.
    Errno::result(unsafe { libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()) }).map(drop)
}

/// Returns the number of signals so far.
pub(crate) fn interruptions() -> u64 {
    INTERRUPTIONS.load(Relaxed)
}

/// Returns the process at the other end of a socket, as a pid in this PID namespace.
pub(crate) fn pid_of_other_end(socket: &UnixStream) -> io::Result<u32> {
    let mut facts = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `facts`, and any bytes are a valid `ucred`.
    let got = unsafe {
        let out = ptr::from_mut(&mut facts).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, out, &raw mut length)
    };
    if got == 0 { Ok(facts.pid.cast_unsigned()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a wake-up of the calling thread preempt no other thread, so that the thread that wakes it goes on running.
pub(crate) fn preempt_no_thread() -> io::Result<()> {
    // The kernel's `sched_param` is a number. The function of musl is not implemented.
    let priority: c_int = 0;
    // SAFETY: the kernel reads the number, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the nice value of a process; `pid` 0 is this process.
///
/// Decreasing the value may require a privilege.
#[cfg(feature = "soak")]
pub(crate) fn set_nice(pid: u32, nice: c_int) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, pid, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process immediately, without cleanup in user space.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` does not return.
    unsafe { libc::_exit(code) }
}
