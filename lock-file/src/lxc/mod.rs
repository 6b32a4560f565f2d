//! LXC's named lock: the one that its tools hold while they read or write a container's files.

mod lock;
mod manager;
mod path;

use std::path::Path;
use std::sync::Arc;

use lock_core::{Lock, Result};

use self::lock::LxcLock;
use self::path::LockPath;

pub(crate) use self::manager::open;

/// LXC's lock of the container `name` under `lxcpath` (`/var/lib/lxc`, as a rule): it excludes LXC's tools and library, and they
/// exclude who holds it.
///
/// As in `lxc_newlock`, the directories of the lock's file are made, and nothing is opened. The file is
/// `$rundir/lxc/lock/$lxcpath/.$name`, where `$rundir` is `/run` if its owner or group is ours, else `$XDG_RUNTIME_DIR`, else
/// `$HOME/.cache/lxc/run`. As in `lxclock` it is opened when the lock is taken, locked as a whole (by `flock(2)` where the kernel knows
/// no open-file-description locks), and closed when it is released; it is never removed. Other than there, one can wait with a
/// deadline, a thread that holds the lock is refused a second time, and errors say what went wrong.
///
/// The kernel releases the lock of an owner that died, and does not tell; nor does it tell who holds it.
///
/// # Errors
/// A name or path that LXC would not take; the directories cannot be made.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// let lock = lock_file::lxc("/var/lib/lxc", "web")?;
/// let guard = lock.try_lock_for(Duration::from_secs(5))?;
/// // No lxc-start, lxc-destroy or lxc-info of `web` comes in between.
/// guard.unlock()?;
/// # Ok::<(), lock_core::Error>(())
/// ```
pub fn lxc(lxcpath: impl AsRef<Path>, name: &str) -> Result<Lock> {
    let (lxcpath, rundir) = (lxcpath.as_ref(), path::rundir()?);
    let path = LockPath::new(&rundir, lxcpath, name)?;
    path.make_directories()?;
    let (url, identity) = (format!("lxc:{}?name={name}", lxcpath.display()), path.identity());
    Ok(Lock::standalone(Arc::new(LxcLock::new(path)), url, identity))
}
