//! Wrong backends that hold a mutex during a fork, or leave it locked in the child.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};

use super::Sinner;
use super::sin::{Sin, sinner};
use super::sys;
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![sinner::<HoldsHandlesOverForks>(), sinner::<HoldsThreadsOverForks>(), sinner::<IgnoresForks>()]
}

/// The mutex. It has no owner, so that a handler can lock it and another one unlock it.
static LOCKED: AtomicBool = AtomicBool::new(false);

extern "C" fn lock() {
    while LOCKED.swap(true, Ordering::Acquire) {
        thread::sleep(Duration::from_micros(50));
    }
}

extern "C" fn unlock() {
    LOCKED.store(false, Ordering::Release);
}

/// Some work under the mutex.
fn work_locked() {
    lock();
    let began = Instant::now();
    while began.elapsed() < Duration::from_micros(50) {
        spin_loop();
    }
    unlock();
}

fn open_and_lock_over_forks(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| sys::at_fork(lock, unlock, unlock));
    reference::open(url, mode)
}

/// Holds the mutex for handles during a fork.
#[derive(Debug)]
struct HoldsHandlesOverForks;

impl Sin for HoldsHandlesOverForks {
    const NAME: &'static str = "holds-handles-over-forks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_mutex_held_during_fork_and_open_causes_no_deadlock", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_lock_over_forks(url, mode)
    }

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        work_locked();
        honest.lock(id)
    }
}

/// Holds the mutex for new threads during a fork.
#[derive(Debug)]
struct HoldsThreadsOverForks;

thread_local! {
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
}

impl Sin for HoldsThreadsOverForks {
    const NAME: &'static str = "holds-threads-over-forks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_first_lock_in_a_prepare_handler_causes_no_deadlock", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_lock_over_forks(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if !IS_KNOWN.replace(true) {
            work_locked();
        }
        honest.acquire(deadline)
    }
}

/// Leaves its mutex locked in a child that is forked while another thread holds it.
#[derive(Debug)]
struct IgnoresForks;

impl Sin for IgnoresForks {
    const NAME: &'static str = "ignores-forks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fork::a_child_forked_while_its_parent_locks_can_lock", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        work_locked();
        honest.acquire(deadline)
    }
}
