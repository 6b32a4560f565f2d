//! All of the crate's unsafe code, here and in the files below, each piece behind a safe function.

mod denials;
mod descriptors;
mod forks;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_int};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
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

/// Who writes a number there lets the next process of its pid namespace have the pid after it.
pub(crate) const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// The next System V semaphore set of an IPC namespace gets the id that is written there.
pub(crate) const NEXT_SET: &str = "/proc/sys/kernel/sem_next_id";

/// Whether this process may make such namespaces.
pub(crate) fn can_unshare(namespaces: CloneFlags) -> bool {
    can(|| unshare(namespaces))
}

/// Whether this process may do that, found out in a child that does nothing else.
pub(crate) fn can<T, E>(attempt: impl FnOnce() -> Result<T, E>) -> bool {
    // SAFETY: libc makes the allocator usable in the child of a threaded process; the child makes system calls only and ends.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => exit_now(i32::from(attempt().is_err())),
        Ok(ForkResult::Parent { child }) => matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))),
        Err(_) => false,
    }
}

/// Enters a new user namespace, as its root, and new namespaces of these kinds in it. Only a process with one thread may.
pub(crate) fn enter_user_namespace(others: CloneFlags) -> io::Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | others)?;
    // Without it nobody but root may map a group.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Whether this process may enter a user namespace.
pub(crate) fn can_enter_user_namespace() -> bool {
    can(|| enter_user_namespace(CloneFlags::CLONE_NEWPID))
}

/// Mounts an empty file system of so many bytes over the directory, for this thread alone.
pub(crate) fn mount_tmpfs_apart(directory: &CStr, bytes: usize) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let mount = |kind: &CStr, target: &CStr, flags: libc::c_ulong, options: &CStr| {
        // SAFETY: all are strings that end, and live until the call is over.
        match unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    let options = CString::new(format!("size={bytes}")).expect("it has no NUL in it");
    mount(c"tmpfs", directory, 0, &options)
}

/// Makes `fd` refer to `/dev/null`, so that what it referred to is given up and the number is not used for anything else.
pub(crate) fn give_up(fd: RawFd) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: both numbers are open descriptors of this process; whoever owns `fd` goes on owning an open descriptor.
    match unsafe { libc::dup3(null.as_raw_fd(), fd, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The file's first `words` words, shared with every process that maps it, for as long as this process lives.
pub(crate) fn map_words(file: &File, words: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = words * size_of::<AtomicU64>();
    if file.metadata()?.len() < bytes as u64 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than what is to be mapped"));
    }
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping at an address that the kernel picks replaces nothing.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, file.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is page-aligned, as long as the slice, backed by a file that is long enough and that nobody shortens, and
    // is never unmapped; atomics may be changed by others at any time.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), words) })
}

/// An allocator for programs that [sweep](crate::sweep): the system's, but in a victim, whose memory comes from a place of its own.
///
/// What `malloc` does depends on all that the program did before, and so would a victim's route; and in a victim's own memory there is
/// nothing for others to lose. Without it a sweep is slower, and comes to fewer places.
///
/// ```
/// #[global_allocator]
/// static MEMORY: lock_conformance::sweep::Memory = lock_conformance::sweep::Memory;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory;

const VICTIM_BYTES: usize = 4 << 20;

#[repr(C, align(4096))]
struct Region(UnsafeCell<[u8; VICTIM_BYTES]>);

// SAFETY: no two threads get the same bytes, and nobody looks at any as a part of this value.
unsafe impl Sync for Region {}

static REGION: Region = Region(UnsafeCell::new([0; VICTIM_BYTES]));
static VICTIM: AtomicBool = AtomicBool::new(false);
static USED: AtomicUsize = AtomicUsize::new(0);

impl Memory {
    /// From now on this process allocates from the region, and gives nothing back.
    pub(crate) fn keep_apart() {
        VICTIM.store(true, Relaxed);
    }
}

// SAFETY: outside of victims it is the system's allocator. In a victim, a block is bytes of the region that no other block has, or else the
// system's; what is not given back stays valid.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if VICTIM.load(Relaxed) && layout.align() <= align_of::<Region>() && layout.size() <= VICTIM_BYTES {
            // Enough wherever the block begins.
            let start = USED.fetch_add(layout.size() + layout.align(), Relaxed).next_multiple_of(layout.align());
            if start + layout.size() <= VICTIM_BYTES {
                return REGION.0.get().cast::<u8>().wrapping_add(start);
            }
        }
        // SAFETY: what the caller promises is what the system's wants to be promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !VICTIM.load(Relaxed) {
            // SAFETY: a process that is no victim has blocks of the system's only.
            unsafe { System.dealloc(block, layout) }
        }
    }
}

/// The number of bytes that the C library's allocator has handed out, where it says so. Its counter has 32 bits.
pub(crate) fn bytes_in_use() -> Option<u32> {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes nothing, and returns counters.
    let bytes = Some(unsafe { libc::mallinfo() }.uordblks.cast_unsigned());
    #[cfg(not(target_env = "gnu"))]
    let bytes = None;
    bytes
}

/// Makes a System V semaphore set with this value in each semaphore; its id.
pub(crate) fn make_semaphore_set(size: usize, value: u16) -> io::Result<c_int> {
    let count = c_int::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the call takes numbers only.
    let id = checked(unsafe { libc::semget(libc::IPC_PRIVATE, count, libc::IPC_CREAT | 0o600) })?;
    let values = vec![value; size];
    // SAFETY: the set has `size` semaphores, and the kernel reads as many values, which are all there.
    checked(unsafe { libc::semctl(id, 0, libc::SETALL, values.as_ptr()) })?;
    Ok(id)
}

/// The value of a semaphore of a System V set.
pub(crate) fn semaphore_value(id: c_int, semaphore: c_int) -> io::Result<c_int> {
    // SAFETY: the call takes numbers only.
    checked(unsafe { libc::semctl(id, semaphore, libc::GETVAL) })
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// How many words hold a mutex of libc.
pub(crate) const MUTEX_WORDS: usize = size_of::<libc::pthread_mutex_t>().div_ceil(size_of::<AtomicU64>());

/// A robust mutex of libc in memory that processes share.
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

/// Makes a mutex of these words, which are zero and are used for nothing else.
pub(crate) fn make_robust_mutex(words: &'static [AtomicU64]) -> io::Result<RobustMutex> {
    let mutex = find_robust_mutex(words)?;
    let mut kind = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: the first call initialises the attributes, which the others change and read. The mutex has room and alignment (see
    // `find_robust_mutex`), and no thread uses it yet.
    unsafe {
        no_error(libc::pthread_mutexattr_init(kind.as_mut_ptr()))?;
        no_error(libc::pthread_mutexattr_setpshared(kind.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED))?;
        no_error(libc::pthread_mutexattr_setrobust(kind.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST))?;
        no_error(libc::pthread_mutex_init(mutex.pointer(), kind.as_ptr()))?;
    }
    Ok(mutex)
}

/// The mutex that was made of these words.
pub(crate) fn find_robust_mutex(words: &'static [AtomicU64]) -> io::Result<RobustMutex> {
    const { assert!(align_of::<libc::pthread_mutex_t>() <= align_of::<AtomicU64>()) };
    if words.len() < MUTEX_WORDS {
        return Err(io::Error::other("there is no room for a mutex"));
    }
    Ok(RobustMutex(words))
}

impl RobustMutex {
    fn pointer(self) -> *mut libc::pthread_mutex_t {
        // Atomics may be changed behind a shared reference.
        self.0.as_ptr().cast_mut().cast()
    }

    pub(crate) fn try_lock(self) -> io::Result<Mutexed> {
        // SAFETY: the words are mapped for as long as the process lives and hold a mutex. Zeros are a mutex, too, in glibc and musl.
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

/// Lets `signal` interrupt system calls (no `SA_RESTART`), and be counted.
pub(crate) fn interrupt_on(signal: Signal) -> nix::Result<()> {
    extern "C" fn count(_: c_int) {
        INTERRUPTIONS.fetch_add(1, Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler makes one atomic operation, which is safe in a signal handler.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Sends a signal to a thread of this process at every such interval, until the process ends.
pub(crate) fn signal_every(signal: Signal, thread: libc::pid_t, interval: Duration) -> nix::Result<()> {
    // SAFETY: zeros are a valid value of this structure of numbers and a pointer.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal as c_int;
    event.sigev_notify_thread_id = thread;
    let mut timer = ptr::null_mut();
    // SAFETY: the call reads the event and writes a timer's id, and both places are valid for that.
    Errno::result(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
    let interval = TimeSpec::from_duration(interval);
    let times = libc::itimerspec { it_interval: *interval.as_ref(), it_value: *interval.as_ref() };
    // SAFETY: the timer was made above and is never deleted; the call reads the times.
    Errno::result(unsafe { libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()) }).map(drop)
}

/// How many signals came.
pub(crate) fn interruptions() -> u64 {
    INTERRUPTIONS.load(Relaxed)
}

/// The process at the other end of a socket, by the pid that it has here.
pub(crate) fn pid_of_other_end(socket: &UnixStream) -> io::Result<u32> {
    let mut facts = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes, which are all there, and any bytes are a valid `ucred`.
    let got = unsafe {
        let out = ptr::from_mut(&mut facts).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, out, &raw mut length)
    };
    if got == 0 { Ok(facts.pid.cast_unsigned()) } else { Err(io::Error::last_os_error()) }
}

/// Sets how nice a process, or with 0 this one, is to others; to become less so may not be allowed.
pub(crate) fn set_nice(pid: u32, nice: c_int) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, pid, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process at once, without any clean-up in user space.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit returns to nobody.
    unsafe { libc::_exit(code) }
}
