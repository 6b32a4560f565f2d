//! Wrong backends that lock a mutex during a fork, or leave it locked in the child.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, is_due, rarely};
use super::sys;
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<HoldsHandlesOverForks>(), faulty::<HoldsThreadsOverForks>(), faulty::<IgnoresForks>(), rarely::<IgnoresForks>()]
}

/// The mutex. It records no owner, so that one fork handler can lock it and another one unlock it.
static LOCKED: AtomicBool = AtomicBool::new(false);

extern "C" fn lock() {
    while LOCKED.swap(true, Ordering::Acquire) {
        thread::sleep(Duration::from_micros(50));
    }
}

extern "C" fn unlock() {
    LOCKED.store(false, Ordering::Release);
}

/// Locks the mutex for a period of time.
fn work_locked(time: Duration) {
    lock();
    let began = Instant::now();
    while began.elapsed() < time {
        spin_loop();
    }
    unlock();
}

const SHORT: Duration = Duration::from_micros(50);
/// A thread that only tries to acquire spends most of its time in periods of this length.
const LONG: Duration = Duration::from_micros(300);

fn open_and_lock_over_forks(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| sys::at_fork(lock, unlock, unlock));
    reference::open(url, mode)
}

#[derive(Debug)]
struct HoldsHandlesOverForks;

impl Fault for HoldsHandlesOverForks {
    const NAME: &'static str = "holds-handles-over-forks";
    const FAULT: &'static str = "Locks the mutex for handles during a fork";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_mutex_held_during_fork_and_open_causes_no_deadlock", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_lock_over_forks(url, mode)
    }

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        work_locked(SHORT);
        honest.lock(id)
    }
}

#[derive(Debug)]
struct HoldsThreadsOverForks;

thread_local! {
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
}

impl Fault for HoldsThreadsOverForks {
    const NAME: &'static str = "holds-threads-over-forks";
    const FAULT: &'static str = "Locks the mutex for new threads during a fork";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_first_lock_in_a_prepare_handler_causes_no_deadlock", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_lock_over_forks(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if !IS_KNOWN.replace(true) {
            work_locked(SHORT);
        }
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct IgnoresForks;

/// Whether the child leaves the mutex unchanged after the current fork.
static IS_IGNORED: AtomicBool = AtomicBool::new(true);

extern "C" fn decide() {
    IS_IGNORED.store(is_due(Operation::Fork), Ordering::Relaxed);
}

extern "C" fn nothing() {}

extern "C" fn unlock_unless_ignored() {
    if !IS_IGNORED.load(Ordering::Relaxed) {
        unlock();
    }
}

impl Fault for IgnoresForks {
    const NAME: &'static str = "ignores-forks";
    const FAULT: &'static str = "Leaves its mutex locked in a child that is forked while another thread locks the mutex";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_child_forked_while_its_parent_locks_can_lock", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| sys::at_fork(decide, nothing, unlock_unless_ignored));
        reference::open(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        work_locked(LONG);
        honest.acquire(deadline)
    }
}
