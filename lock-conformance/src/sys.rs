//! All of the crate's unsafe code, here and in the files below, each piece behind a safe function.

mod descriptors;
mod forks;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_int};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;

pub(crate) use descriptors::{by_number, close_all_but, close_all_on_exec, duplicate_over, has_close_range, is_open, write_to};
pub(crate) use forks::{Fork, at_fork, fork};

/// Whether this process may make such namespaces, found out by making them in a child that does nothing else.
pub(crate) fn can_unshare(namespaces: CloneFlags) -> bool {
    // SAFETY: the child makes two system calls and allocates nothing.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => exit_now(i32::from(unshare(namespaces).is_err())),
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

/// Whether this process may enter a user namespace, found out in a child.
pub(crate) fn can_enter_user_namespace() -> bool {
    // SAFETY: libc makes the allocator usable in the child of a threaded process; it makes system calls only and ends.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => exit_now(i32::from(enter_user_namespace(CloneFlags::CLONE_NEWPID).is_err())),
        Ok(ForkResult::Parent { child }) => matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))),
        Err(_) => false,
    }
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
