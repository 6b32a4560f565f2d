//! Wrong backends that mistake a forked child for its parent, or depend on permissions that the process drops.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Error, ErrorKind, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::geteuid;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::number::{Number, inode_of};
use super::sys;
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<GrantsBeforeItsHandler>(),
        faulty::<MissesForksWithoutHandlers>(),
        faulty::<MissesForksBySystemCall>(),
        faulty::<LeavesAFileToChildren>(),
        faulty::<ReportsADestroyedStore>(),
        faulty::<ReleasesWithRightsOnly>(),
    ]
}

extern "C" fn nothing() {}

#[derive(Debug)]
struct GrantsBeforeItsHandler;

/// The process that is forking.
static FORKING: AtomicU32 = AtomicU32::new(0);

extern "C" fn begin_fork() {
    FORKING.store(process::id(), Ordering::Relaxed);
}

extern "C" fn end_fork() {
    FORKING.store(0, Ordering::Relaxed);
}

impl Fault for GrantsBeforeItsHandler {
    const NAME: &'static str = "grants-before-its-handler";
    const FAULT: &'static str = "Assumes that no other code runs in a child before the backend's own fork handler";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "fork::a_guard_dropped_in_a_child_handler_releases_nothing",
        "in its handler, a child acquired the lock of its parent",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| sys::at_fork(begin_fork, end_fork, end_fork));
        reference::open(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let forking = FORKING.load(Ordering::Relaxed);
        let in_new_child = forking != 0 && forking != process::id();
        if in_new_child { Ok(Acquired::Held { token: u64::MAX }) } else { honest.acquire(deadline) }
    }
}

/// The cached pid, or 0 if it is unknown.
static CACHED: AtomicU32 = AtomicU32::new(0);

/// Returns the cached pid, which is updated only if `is_new` detects a new process.
fn cached_pid(is_new: impl FnOnce() -> bool) -> u32 {
    let (cached, pid) = (CACHED.load(Ordering::Relaxed), process::id());
    if cached == pid || (cached != 0 && !is_new()) {
        return cached;
    }
    CACHED.store(pid, Ordering::Relaxed);
    pid
}

/// Refuses a lock whose owner has the cached pid.
fn acquire_as(pid: u32, honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
    match honest.holder()? {
        Some(holder) if holder.pid == pid && pid != process::id() => Err(Error::already_held()),
        _ => honest.acquire(deadline),
    }
}

#[derive(Debug)]
struct MissesForksWithoutHandlers;

extern "C" fn forget_pid() {
    CACHED.store(0, Ordering::Relaxed);
}

impl Fault for MissesForksWithoutHandlers {
    const NAME: &'static str = "misses-forks-without-handlers";
    const FAULT: &'static str = "Detects a fork by a handler or by a thread that libc has not initialized, and so misses _Fork";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_child_without_handlers_owns_nothing_and_locks_for_itself", "was refused \"find_busy 0\": AlreadyHeld")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| sys::at_fork(nothing, nothing, forget_pid));
        reference::open(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        acquire_as(cached_pid(|| !sys::has_robust_list()), honest, deadline)
    }
}

#[derive(Debug)]
struct MissesForksBySystemCall;

impl Fault for MissesForksBySystemCall {
    const NAME: &'static str = "misses-forks-by-system-call";
    const FAULT: &'static str = "Detects a fork only in a thread that libc has initialized";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_child_by_system_call_owns_nothing_and_locks_for_itself", "was refused \"find_busy 0\": AlreadyHeld")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        acquire_as(cached_pid(sys::has_robust_list), honest, deadline)
    }
}

#[derive(Debug)]
struct LeavesAFileToChildren;

/// The registered descriptor numbers, and the process that registered them.
static REGISTERED: [Number; 256] = [const { Number::none() }; 256];
static REGISTERED_BY: AtomicU32 = AtomicU32::new(0);

extern "C" fn close_registered() {
    for number in REGISTERED.iter().filter_map(Number::take) {
        let _ = nix::unistd::close(number);
    }
    REGISTERED_BY.store(process::id(), Ordering::Relaxed);
}

/// Closes the registered numbers in a child whose fork ran no handlers.
fn close_inherited() {
    if REGISTERED_BY.load(Ordering::Relaxed) != process::id() {
        close_registered();
    }
}

impl Fault for LeavesAFileToChildren {
    const NAME: &'static str = "leaves-a-file-to-children";
    const FAULT: &'static str = "Opens a file for each acquisition, and registers it for closing in children only later";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_parent_killed_after_racing_forks_leaves_no_lock_held", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            REGISTERED_BY.store(process::id(), Ordering::Relaxed);
            sys::at_fork(nothing, nothing, close_registered);
        });
        reference::open(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let path = url.location().join(format!("second-{id}"));
        Ok(Arc::new(WithSecondFile { honest: honest.lock(id)?, path, number: Number::none() }))
    }
}

/// A lock with a second file, which the owner also locks.
#[derive(Debug)]
struct WithSecondFile {
    honest: Arc<dyn RawLock>,
    path: PathBuf,
    number: Number,
}

impl WithSecondFile {
    /// Locks the second file, unless the store is destroyed.
    fn lock_second(&self) {
        let Ok(number) = self.number.open(&self.path) else { return };
        // A child that is forked during this sleep inherits an unregistered descriptor.
        thread::sleep(Duration::from_micros(300));
        if let Some(free) = REGISTERED.iter().find(|registered| registered.get().is_none()) {
            free.set(number);
        }
        while fcntl(sys::by_number(number), FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) == Err(Errno::EAGAIN) {
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn unlock_second(&self) {
        let Some(number) = self.number.take().filter(|number| self.is_second(*number)) else { return };
        let _ = fcntl(sys::by_number(number), FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
        if let Some(registered) = REGISTERED.iter().find(|registered| registered.get() == Some(number)) {
            registered.take();
        }
        let _ = nix::unistd::close(number);
    }

    fn is_second(&self, number: RawFd) -> bool {
        fs::metadata(&self.path).ok().map(|facts| facts.ino()) == inode_of(number)
    }
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

impl RawLock for WithSecondFile {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        close_inherited();
        let acquired = self.honest.acquire(deadline)?;
        if acquired != Acquired::TimedOut {
            self.lock_second();
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        close_inherited();
        if self.honest.holder()?.is_some_and(|holder| holder.pid == process::id()) {
            self.unlock_second();
        }
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<lock_core::Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct ReportsADestroyedStore;

impl Fault for ReportsADestroyedStore {
    const NAME: &'static str = "blames-the-store";
    const FAULT: &'static str = "Reports a destroyed store when it lacks the permission to open a file";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_child_without_its_parents_rights_locks_or_gets_the_reason", "names another cause: Destroyed")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        honest.acquire(deadline).map_err(|error| match error.kind() {
            ErrorKind::System if !geteuid().is_root() => Error::destroyed(),
            _ => error,
        })
    }
}

#[derive(Debug)]
struct ReleasesWithRightsOnly;

static ACQUIRED_AS: AtomicU32 = AtomicU32::new(0);

impl Fault for ReleasesWithRightsOnly {
    const NAME: &'static str = "releases-with-rights-only";
    const FAULT: &'static str = "Requires the permissions of the acquisition for the release";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_lock_acquired_with_rights_is_released_without", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        ACQUIRED_AS.store(geteuid().as_raw(), Ordering::Relaxed);
        Ok(acquired)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        if ACQUIRED_AS.load(Ordering::Relaxed) != geteuid().as_raw() {
            return Err(Error::system("semop", Errno::EACCES));
        }
        honest.release(proof)
    }
}
