//! Waiters with a deadline, and the processes that give way to them.
//!
//! The kernel has a queue of the threads that block in it, but a waiter with a deadline is not in it. A process that acquires the lock
//! again right after its release would always be faster. So such a waiter *marks* its wait by a shared lock of flock(2) on its open file
//! description. A process that has released the lock within the last 10 ms gives way to marked waiters, for 10 ms at most.
//!
//! Locks of flock(2) do not conflict with the locks of fcntl(2), and the kernel removes the mark of a dead waiter. LXC's tools use flock(2)
//! only on kernels that have no open-file-description locks; there, and on network file systems, nothing is marked.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Deadline, PerProcess, Result};
use lock_table::descriptor::Descriptor;
use lock_table::filesystem::{self, Accept};

use super::sys;
use crate::wait::{FIRST_PAUSE, LONGEST_PAUSE};

/// How long a process gives way, and for how long after its release it does so.
const PATIENCE: Duration = Duration::from_millis(10);

/// The shortest time between two checks for marks. A wait that is shorter may be overtaken.
const INTERVAL: Duration = Duration::from_millis(1);

/// How long this process does not check for marks after it has passed over a waiter. Each further time it is twice as long.
const FIRST_PASS: Duration = Duration::from_millis(20);

/// The longest of these times.
const LONGEST_PASS: Duration = Duration::from_secs(1);

/// The recent releases of this process.
static RECENT: PerProcess<Mutex<Vec<Release>>> = PerProcess::new();

#[derive(Debug)]
struct Release {
    inode: (u64, u64),
    at: Instant,
    /// When this process checks for marks again, at the earliest.
    next_check: Instant,
    /// How long this process does not check after it passes over a waiter.
    pass: Duration,
}

impl Release {
    /// Checks whether this release still matters at this time. A thread that gives way acquires the lock after [`PATIENCE`].
    fn is_recent(&self, now: Instant) -> bool {
        now.duration_since(self.at) < 2 * PATIENCE || now < self.next_check
    }
}

/// Records that this process released the lock with this inode, which it had acquired at the time `acquired`.
pub(super) fn record_release(inode: (u64, u64), acquired: Instant) {
    let (Ok(mut recent), at) = (recent(), Instant::now()) else { return };
    let before = recent.iter().find(|release| release.inode == inode && release.is_recent(acquired));
    let (next_check, pass) = before.map_or((acquired + INTERVAL, FIRST_PASS), |release| (release.next_check, release.pass));
    recent.retain(|release| release.inode != inode && release.is_recent(at));
    recent.push(Release { inode, at, next_check, pass });
}

/// Returns true if this process has just released the lock with this inode, and has to check for marked waiters.
pub(super) fn is_due_to_check(inode: (u64, u64)) -> bool {
    let Ok(recent) = recent() else { return false };
    let release = recent.iter().find(|release| release.inode == inode);
    release.is_some_and(|release| release.at.elapsed() < PATIENCE && release.next_check <= Instant::now())
}

/// Records that this process has checked for marked waiters of the lock with this inode.
///
/// If the lock is still reserved, the marked waiter may be stopped, and this process does not check again for a time.
pub(super) fn checked(inode: (u64, u64), is_reserved: bool) {
    let Ok(mut recent) = recent() else { return };
    if let Some(release) = recent.iter_mut().find(|release| release.inode == inode) {
        let (wait, pass) = if is_reserved { (release.pass, LONGEST_PASS.min(release.pass * 2)) } else { (INTERVAL, FIRST_PASS) };
        (release.next_check, release.pass) = (Instant::now() + wait, pass);
    }
}

/// Returns true if the lock is free and a waiter is marked, after a pause of at most 10 ms in which the waiter can acquire it.
///
/// The caller has no mark.
pub(super) fn is_reserved_after_pause(file: &Descriptor, path: &Path, deadline: Deadline) -> Result<bool> {
    if !supports_marks(file, path) {
        return Ok(false);
    }
    let (end, mut pause) = (Instant::now() + PATIENCE, FIRST_PAUSE);
    while is_reserved(file)? {
        if deadline.has_passed() || Instant::now() >= end {
            return Ok(true);
        }
        thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    Ok(false)
}

/// Returns true if a waiter is marked. The caller has the lock, and no mark.
pub(super) fn has_marked_waiter(file: &Descriptor, path: &Path) -> Result<bool> {
    Ok(supports_marks(file, path) && sys::is_marked(file)?)
}

fn is_reserved(file: &Descriptor) -> Result<bool> {
    Ok(sys::is_locked(file) == Some(false) && sys::is_marked(file)?)
}

fn supports_marks(file: &Descriptor, path: &Path) -> bool {
    sys::is_locked(file).is_some() && file.get().is_some_and(|fd| filesystem::check(fd, path, Accept::default()).is_ok())
}

fn recent() -> Result<MutexGuard<'static, Vec<Release>>> {
    let recent = RECENT.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(recent.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The mark of the calling thread's wait.
#[derive(Debug)]
pub(super) struct Mark<'a> {
    file: &'a Descriptor,
    path: &'a Path,
    is_set: Cell<bool>,
}

impl<'a> Mark<'a> {
    pub(super) fn new(file: &'a Descriptor, path: &'a Path) -> Self {
        Self { file, path, is_set: Cell::new(false) }
    }

    /// Marks the wait. A process that checks for marks at this moment may prevent it, so the waiter calls this before each sleep.
    pub(super) fn set(&self) {
        if !self.is_set.get() && supports_marks(self.file, self.path) {
            self.is_set.set(sys::mark(self.file));
        }
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        if self.is_set.get() {
            sys::unmark(self.file);
        }
    }
}
