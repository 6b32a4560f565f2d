//! LXC's named lock, which its tools hold while they read or write the files of a container.

mod inspect;
mod lock;
mod manager;
mod path;
mod queue;
mod sys;

use std::path::Path;
use std::sync::Arc;

use lock_core::{Lock, Result, StoreUrl};

use self::lock::LxcLock;
use self::path::LockPath;

pub(crate) use self::manager::open;

/// Returns LXC's lock of the container `name` under `lxcpath`, usually `/var/lib/lxc`.
///
/// The lock excludes LXC's tools and library, and they exclude its holder. The functions `lxc_newlock` and `lxclock` of LXC
/// define it. The file is `$rundir/lxc/lock/$lxcpath/.$name`, where `$rundir` is:
///
/// - `/run` if it belongs to this process's user or group;
/// - else `$XDG_RUNTIME_DIR` if that is set;
/// - else `$HOME/.cache/lxc/run`.
///
/// This function creates the directories of the file and opens nothing. An acquisition opens and locks the file. On a kernel
/// without open-file-description locks it uses `flock(2)`. A release closes the file. No program removes it.
///
/// Unlike `lxclock`, an acquisition can have a deadline, and a thread that holds the lock is refused a second acquisition.
///
/// A process that acquires the lock right after it has released it gives way to waiters of this crate with a deadline, for 10 ms at most. LXC's
/// tools do not. A waiter without a deadline is in the kernel's queue, where such a process overtakes it only if it is faster than the
/// wake-up.
///
/// The kernel releases the lock of a dead owner. The next owner gets no report of the death. The file records no holder: the error of
/// a wait that timed out names the process that `/proc` shows, if the rights suffice ([`lock_proc`]).
///
/// # Errors
/// - [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) if LXC does not accept the name or the path.
/// - [`ErrorKind::System`](lock_core::ErrorKind::System) or [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) if a directory
///   cannot be created.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// let lock = lock_file::lxc("/var/lib/lxc", "web")?;
/// let guard = lock.try_lock_for(Duration::from_secs(5))?;
/// // lxc-start, lxc-destroy and lxc-info of `web` wait until the guard is released.
/// guard.unlock()?;
/// # Ok::<(), lock_core::Error>(())
/// ```
pub fn lxc(lxcpath: impl AsRef<Path>, name: &str) -> Result<Lock> {
    let (lxcpath, rundir) = (lxcpath.as_ref(), path::rundir()?);
    let path = LockPath::new(&rundir, lxcpath, name)?;
    path.create_directories()?;
    let identity = path.identity();
    let url = match StoreUrl::builder("lxc").path(lxcpath).option("name", name).build() {
        Ok(url) if lxcpath.is_absolute() => url.to_string(),
        // LXC does not resolve a relative path against the current directory, and no URL names its lock.
        _ => format!("lxc:{}?name={name}", lxcpath.display()),
    };
    Ok(Lock::standalone(Arc::new(LxcLock::new(path)), url, identity))
}
