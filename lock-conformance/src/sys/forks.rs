//! Forks through libc and around it.

use std::ffi::c_int;
use std::io;
use std::mem;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};

/// A way to fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fork {
    /// `fork`.
    Libc,
    /// `_Fork`, which runs no `pthread_atfork` handlers.
    WithoutHandlers,
    /// The system call `clone`.
    SystemCall,
}

impl Fork {
    /// Forks. Returns `None` in the child and the child's pid in the parent.
    ///
    /// The child has this thread only, and mutexes of other threads stay locked in it. The caller therefore holds the mutexes that
    /// the child uses. [`Fork::Libc`] handles libc's own mutexes. For the other ways, the caller ensures that no other thread is in
    /// the allocator.
    pub(crate) fn run(self) -> nix::Result<Option<Pid>> {
        let pid = match self {
            Self::Libc => {
                // SAFETY: the caller holds the mutexes that the child uses, and glibc and musl both make the allocator usable in the
                // child of a threaded process.
                return match unsafe { nix::unistd::fork() }? {
                    ForkResult::Child => Ok(None),
                    ForkResult::Parent { child } => Ok(Some(child)),
                };
            }
            Self::WithoutHandlers => {
                let fork = without_handlers().ok_or(Errno::ENOSYS)?;
                // SAFETY: as for `fork`, and no other thread is in the allocator.
                unsafe { fork() }
            }
            // SAFETY: as above. Without CLONE_VM the child has a copy of the memory. A null stack keeps the present stack, and the zeros
            // are valid in every order of the remaining arguments.
            Self::SystemCall => unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as c_int },
        };
        match Errno::result(pid)? {
            0 => Ok(None),
            child => Ok(Some(Pid::from_raw(child))),
        }
    }

    /// Returns whether this way to fork is available.
    pub(crate) fn is_there(self) -> bool {
        match self {
            Self::Libc => true,
            Self::WithoutHandlers => without_handlers().is_some(),
            // s390x takes the flags as the second argument.
            Self::SystemCall => !cfg!(target_arch = "s390x"),
        }
    }
}

/// Looks up `_Fork`, which glibc has from 2.34 on and musl from 1.2.2 on.
fn without_handlers() -> Option<unsafe extern "C" fn() -> c_int> {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_Fork".as_ptr()) };
    // SAFETY: POSIX specifies this type for the function of this name.
    (!found.is_null()).then(|| unsafe { mem::transmute::<*mut libc::c_void, unsafe extern "C" fn() -> c_int>(found) })
}

/// Registers handlers for every later `fork` of the process.
pub(crate) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the functions are part of this program and are never unloaded.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Forks by [`Fork::Libc`].
pub(crate) fn fork() -> nix::Result<Option<Pid>> {
    Fork::Libc.run()
}
