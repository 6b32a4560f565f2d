//! Wrong backends whose waits differ from what they record.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Capabilities, Deadline, Holder, LockId, Manager, OpenMode, RawLock, Result, StoreUrl, Waiter, Waits};
use nix::unistd::gettid;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::waiter_lists::listing;
use crate::reference::naming;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<RestartsWaits>(),
        faulty::<DoesNotRecordProcesses>(),
        faulty::<ListsAttempts>(),
        faulty::<ListsHolders>(),
        faulty::<GrantsWhenItIsListed>(),
    ]
}

/// Calls `attempt`, which does not wait, until it acquires the lock or the deadline passes.
fn poll(deadline: Deadline, attempt: impl Fn() -> Result<Acquired>) -> Result<Acquired> {
    loop {
        let acquired = attempt()?;
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

// The trait's default method acquires the lock once for each slice.
listing! { RestartsWaits, "restarts-waits", "Records a wait with a cancellation again after each check of the cancellation",
&[("waiters::a_wait_with_a_cancellation_is_one_wait", "one thread waits, also between the checks")], {}}

listing! { DoesNotRecordProcesses, "does-not-record-processes", "Does not record a thread that waits for a lock of its process",
    &[("waiters::a_waiter_for_a_send_guard_is_listed", "watchdog: it did not happen that p")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        poll(deadline, || honest.acquire_for_process(Deadline::Now))
    }
}}

/// The directory of the store that this process has opened.
static STORE: OnceLock<PathBuf> = OnceLock::new();

fn file(name: &str) -> Option<PathBuf> {
    Some(STORE.get()?.with_extension(name))
}

listing! { ListsAttempts, "lists-attempts", "Lists the last thread whose attempt has failed",
    &[("waiters::a_failed_attempt_is_no_wait", "an attempt has failed")], {
    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        STORE.get_or_init(|| url.location().to_owned());
        honest.lock(id)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        if acquired == Acquired::TimedOut && let Some(file) = file("attempt") {
            let _ = fs::write(file, format!("{} {}", std::process::id(), gettid()));
        }
        Ok(acquired)
    }

    fn waiting(honest: &dyn Manager, url: &StoreUrl) -> Result<Waits> {
        let mut waits = honest.waiting()?.waiters;
        let attempt = fs::read_to_string(url.location().with_extension("attempt")).unwrap_or_default();
        if let Some((pid, tid)) = attempt.split_once(' ') {
            let thread = Holder::of_process(pid.parse().unwrap_or(0)).with_thread(tid.parse().unwrap_or(0));
            waits.push(Waiter::new(LockId::new(0), thread));
        }
        Ok(Waits::new(waits, None))
    }
}}

listing! { ListsHolders, "lists-holders", "Lists the holders of locks as their waiters",
    &[("waiters::a_free_lock_and_a_holder_have_no_waiters", "no thread waits for a held lock")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let waits = honest.waiting()?.waiters;
        let holders = honest.held()?.into_iter().filter_map(|held| Some(Waiter::new(held.id, held.holder?)));
        Ok(Waits::new(waits.into_iter().chain(holders).collect(), None))
    }
}}

listing! { GrantsWhenItIsListed, "grants-when-it-is-listed", "Ends the wait of a listed thread as if it had acquired the lock",
    &[("waiters::a_list_of_waiters_disturbs_neither_holder_nor_waiters", "a list of waiters does not release a lock")], {
    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        STORE.get_or_init(|| url.location().to_owned());
        honest.lock(id)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let slice = Duration::from_millis(1);
        loop {
            let end = deadline.remaining().map_or(slice, |left| left.min(slice));
            let acquired = honest.acquire(if deadline == Deadline::Now { deadline } else { Deadline::after(end) })?;
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            if file("listed").is_some_and(|file| file.exists()) {
                return Ok(Acquired::Held { token: u64::MAX });
            }
        }
    }

    fn waiting(honest: &dyn Manager, url: &StoreUrl) -> Result<Waits> {
        let waits = honest.waiting()?;
        if !waits.waiters.is_empty() {
            let _ = fs::write(url.location().with_extension("listed"), "");
        }
        Ok(waits)
    }
}}
