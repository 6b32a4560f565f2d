//! A child process that executes a program.
//!
//! The child shares the memory of this process until it executes the program, as with vfork(2). So the memory is not copied, and an error
//! needs no pipe. Unlike `posix_spawn`, the child can ask for a signal when its parent dies.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_void};
use std::io;
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

use super::parent;
use super::signal::IgnoredSignals;

unsafe extern "C" {
    /// The environment of this process: a list that ends with a null pointer.
    static environ: *const *const c_char;
}

/// Bytes of the stack on which the child calls `execvpe`. The C library puts a path there, and a copy of the list of the arguments, which
/// comes on top.
const STACK: usize = 64 << 10;

/// A child that executes a program. It is not reaped before [`Child::wait`], so its pid is not reused.
#[derive(Debug)]
pub(crate) struct Child(Pid);

impl Child {
    /// Executes a program, which is searched for in `PATH`, with these arguments, of which the first is its name. The variables of this
    /// process with these names get these values, or are removed.
    ///
    /// The kernel kills the child when the calling thread ends, which must live as long as the process. This does not apply to the
    /// child's own children, and a set-user-id program clears it (`prctl(2)`). The child has this signal mask, and ignores these signals.
    ///
    /// # Errors
    /// The error of `execvpe` or of another call of the child, or that of `clone`.
    pub(crate) fn spawn(
        arguments: &[OsString],
        variables: &[(&str, Option<String>)],
        blocked: SigSet,
        ignored: IgnoredSignals,
    ) -> io::Result<Self> {
        let arguments = arguments.iter().map(|argument| text(argument)).collect::<io::Result<Vec<_>>>()?;
        let set = variables.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let set = set.map(|variable| text(OsStr::new(&variable))).collect::<io::Result<Vec<_>>>()?;
        let names: Vec<_> = variables.iter().map(|(name, _)| name.as_bytes()).collect();
        let inherited = inherited_environment().filter(|variable| !names.iter().any(|name| is_named(variable, name)));
        let arguments = pointers(arguments.iter().map(CString::as_c_str));
        let environment = pointers(inherited.chain(set.iter().map(CString::as_c_str)));
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>() + arguments.len());
        let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
        let start = Start {
            arguments: &arguments,
            environment: &environment,
            blocked,
            ignored,
            parent: Pid::this(),
            error: AtomicI32::new(0),
        };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the stack is large enough for `execute`, aligned, and used by nothing else. This thread does not run until the child
        // has executed the program or ended, so `start` and all that it points to live as long as the child uses them.
        let result = unsafe { libc::clone(execute, top.cast(), flags, (&raw const start).cast_mut().cast()) };
        let child = Self(Pid::from_raw(Errno::result(result)?));
        match start.error.load(Relaxed) {
            0 => Ok(child),
            error => {
                child.wait()?;
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    pub(crate) fn id(&self) -> Pid {
        self.0
    }

    /// Waits for the end of the child, and reaps it.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        let mut status = 0;
        loop {
            // SAFETY: the call writes the status, which is a valid local.
            match Errno::result(unsafe { libc::waitpid(self.0.as_raw(), &raw mut status, 0) }) {
                Ok(_) => return Ok(ExitStatus::from_raw(status)),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The input of the child until it executes the program, and its error.
struct Start<'a> {
    /// Both lists end with a null pointer, and have valid strings before it.
    arguments: &'a [*const c_char],
    environment: &'a [*const c_char],
    blocked: SigSet,
    ignored: IgnoredSignals,
    parent: Pid,
    /// An error number, or 0.
    error: AtomicI32,
}

impl Start<'_> {
    /// Executes the program. Returns only after an error. Async-signal-safe.
    fn execute(&self) -> io::Error {
        let prepared = || {
            parent::end_with(self.parent)?;
            self.ignored.set_for_program()?;
            self.blocked.thread_set_mask()
        };
        if let Err(error) = prepared() {
            return error.into();
        }
        // SAFETY: the lists and their strings are valid, and the list of the arguments is not empty.
        unsafe { libc::execvpe(self.arguments[0], self.arguments.as_ptr(), self.environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// The child, which does not return.
extern "C" fn execute(start: *mut c_void) -> c_int {
    // SAFETY: the parent passes a valid `Start`, which it does not change. The child calls prctl, getppid, sigaction, pthread_sigmask,
    // execvpe and _exit only. In glibc and musl these take no lock, allocate nothing and change no memory of the parent but errno.
    unsafe {
        let start = &*start.cast::<Start<'_>>();
        start.error.store(start.execute().raw_os_error().unwrap_or(libc::EINVAL), Relaxed);
        libc::_exit(127)
    }
}

/// The variables of this process, as `NAME=VALUE`.
fn inherited_environment<'a>() -> impl Iterator<Item = &'a CStr> {
    // SAFETY: this program never changes its environment, so the list and its strings stay valid.
    let mut next = unsafe { environ };
    iter::from_fn(move || {
        // SAFETY: `next` is null, or in the list up to its end, which is a null pointer.
        let variable = unsafe { next.as_ref() }.copied().filter(|variable| !variable.is_null())?;
        // SAFETY: the list did not end here. Its strings end with a null byte.
        unsafe {
            next = next.add(1);
            Some(CStr::from_ptr(variable))
        }
    })
}

fn is_named(variable: &CStr, name: &[u8]) -> bool {
    variable.to_bytes().strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="))
}

fn text(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}

/// Returns a list for the C library, which ends with a null pointer. It is valid while the strings are.
fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}
