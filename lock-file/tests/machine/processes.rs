//! Descriptors, forks and leaked guards.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lock_core::{Deadline, ErrorKind, Guard, Lock, Store, Waiter};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::file_systems::store_in;

/// A time limit that no test reaches.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Lists the lock files that this process has open.
fn open_lock_files() -> Vec<PathBuf> {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| is_a_lock_file(target)).collect()
}

fn is_a_lock_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "locks")
}

/// Asserts that a condition is true in a forked child.
fn in_child(condition: impl FnOnce() -> bool) {
    // SAFETY: this process has one thread, so no lock of the C library is held in the child.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => std::process::exit(i32::from(!condition())),
        ForkResult::Parent { child } => assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0)),
    }
}

/// Forks a child that acquires the lock, releases it and exits with 0. Returns when the child has waited for longer than a millisecond.
fn start_waiter(store: &Store, lock: &Lock, deadline: Deadline) -> Pid {
    // SAFETY: this process has one thread, so no lock of the C library is held in the child.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let acquired = lock.lock_by(deadline).and_then(Guard::unlock);
            std::process::exit(i32::from(acquired.is_err()));
        }
        ForkResult::Parent { child } => {
            let has_starved = |waiter: &Waiter| waiter.waited.is_some_and(|waited| waited > Duration::from_millis(1));
            while !store.waiting().unwrap().waiters.iter().any(has_starved) {
                thread::yield_now();
            }
            child
        }
    }
}

pub(crate) fn a_free_lock_is_not_kept_for_a_waiter_that_was_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let lock = store.allocate("").unwrap();
    for deadline in [Deadline::Never, Deadline::after(WATCHDOG)] {
        let guard = lock.lock().unwrap();
        let waiter = start_waiter(&store, &lock, deadline);
        kill(waiter, Signal::SIGKILL).unwrap();
        assert_eq!(waitpid(waiter, None).unwrap(), WaitStatus::Signaled(waiter, Signal::SIGKILL, false));
        guard.unlock().unwrap();
        assert!(lock.try_lock().unwrap().is_some(), "the lock is kept for a dead waiter");
    }
}

pub(crate) fn a_free_lock_is_kept_for_a_stopped_waiter_for_a_limited_time() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let lock = store.allocate("").unwrap();
    for deadline in [Deadline::Never, Deadline::after(WATCHDOG)] {
        let guard = lock.lock().unwrap();
        let waiter = start_waiter(&store, &lock, deadline);
        kill(waiter, Signal::SIGSTOP).unwrap();
        let stopped = waitpid(waiter, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(waiter, Signal::SIGSTOP));
        guard.unlock().unwrap();
        assert!(lock.try_lock().unwrap().is_none(), "a thread that has not waited gets the lock first");
        while lock.try_lock().unwrap().is_none() {
            thread::yield_now();
        }
        // A wait with or without a deadline ends as well.
        lock.lock().unwrap().unlock().unwrap();
        lock.try_lock_for(WATCHDOG).unwrap().unlock().unwrap();
        kill(waiter, Signal::SIGCONT).unwrap();
        assert_eq!(waitpid(waiter, None).unwrap(), WaitStatus::Exited(waiter, 0), "the waiter did not get the lock");
    }
}

fn a_lock() -> (tempfile::TempDir, Lock) {
    let scratch = tempfile::tempdir().unwrap();
    let lock = store_in(scratch.path()).allocate("").unwrap();
    (scratch, lock)
}

pub(crate) fn a_forked_child_closes_the_files_of_its_parent() {
    let (_scratch, lock) = a_lock();
    let guard = lock.lock().unwrap();
    assert_eq!(open_lock_files().len(), 1);
    in_child(|| open_lock_files().is_empty());
    guard.unlock().unwrap();
    in_child(|| open_lock_files().is_empty());
}

pub(crate) fn a_forked_child_opens_its_own_file() {
    let (_scratch, lock) = a_lock();
    let guard = lock.lock().unwrap();
    in_child(|| lock.try_lock().unwrap().is_none() && open_lock_files().len() == 1);
    guard.unlock().unwrap();
    in_child(|| lock.try_lock().unwrap().is_some());
    // A handle that the parent opened before the fork reports the child's death.
    in_child(|| {
        std::mem::forget(lock.lock().unwrap());
        true
    });
    assert!(lock.try_lock().unwrap().unwrap().recovered().is_some());
}

/// The kernel closes the files of a dead process from the highest number to the lowest, and closing an inotify instance is slow.
pub(crate) fn locks_have_higher_numbers_than_the_inotify_instance() {
    let scratch = tempfile::tempdir().unwrap();
    let low = fs::File::open("/").unwrap();
    let store = store_in(scratch.path());
    let [first, second] = ["", ""].map(|label| store.allocate(label).unwrap());
    let held = first.lock().unwrap();
    // Occupies the lowest numbers, so the instance gets the reserved one.
    let _files = [(); 10].map(|()| fs::File::open("/").unwrap());
    // The deadline may pass before the thread creates the instance.
    while numbers(is_inotify).is_empty() {
        thread::scope(|scope| {
            scope.spawn(|| first.try_lock_for(Duration::from_millis(1)).unwrap_err()).join().unwrap();
        });
    }
    // A number below that of the instance is now free.
    drop(low);
    let also_held = second.lock().unwrap();
    let (instance, locks) = (numbers(is_inotify), numbers(is_a_lock_file));
    assert_eq!(locks.len(), 2);
    assert!(
        instance.iter().min() < locks.iter().min(),
        "the instance has the number {instance:?}, the lock files have {locks:?}"
    );
    drop((held, also_held));
}

fn is_inotify(target: &Path) -> bool {
    target.to_string_lossy().contains("inotify")
}

/// Lists the numbers of the descriptors of these files.
fn numbers(wanted: fn(&Path) -> bool) -> Vec<u32> {
    let files = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|file| fs::read_link(file).is_ok_and(|target| wanted(&target)));
    wanted.map(|file| file.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

pub(crate) fn a_leaked_guard_keeps_the_lock() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let lock = store.allocate("").unwrap();
    let id = lock.id();
    std::mem::forget(lock.lock().unwrap());
    drop(lock);
    let again = store.retrieve(id).unwrap();
    assert!(matches!(again.lock().unwrap_err().kind(), ErrorKind::AlreadyHeld));
    drop((again, store));
    let store = store_in(scratch.path());
    let again = store.retrieve(id).unwrap();
    // The thread that leaked the guard still holds the lock. Every handle reports that.
    assert!(matches!(again.lock().unwrap_err().kind(), ErrorKind::AlreadyHeld));
    thread::scope(|scope| {
        let other = scope.spawn(|| again.try_lock().unwrap().is_none());
        assert!(other.join().unwrap(), "the lock was released with its handle");
    });
    assert_eq!(again.holder().unwrap().unwrap().pid, std::process::id());
    in_child(|| again.try_lock().unwrap().is_none());
}
