//! Wrong backends whose lists of holders and waiters hide deadlocks, or show some that are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Deadline, Holder, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, StoreUrl, Waiter,
    Waits,
};
use nix::unistd::gettid;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::ruled::is_alive;
use super::waiter_lists::listing;
use crate::reference::naming;

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<ListsNoWaiters>(), faulty::<NamesTheAsker>(), faulty::<KeepsWaits>(), faulty::<KeepsTheDead>()]
}

listing! { ListsNoWaiters, "lists-no-waiters", "Lists no waiters",
    &[
        ("deadlocks::one_of_two_members_is_refused", "watchdog: it did not happen that a wait that closes a cycle is refused"),
        ("deadlocks::one_of_three_members_is_refused", "watchdog: it did not happen that a wait that closes a cycle is refused"),
        ("deadlocks::one_of_two_threads_of_a_process_is_refused", "watchdog: it did not happen that a wait"),
        ("deadlocks::the_error_has_the_threads_and_the_locks", "watchdog: it did not happen that a wait"),
        ("deadlocks::a_cycle_across_pid_namespaces_is_refused", "watchdog: it did not happen that a wait"),
        ("deadlocks::a_member_without_the_option_is_passed_over", "watchdog: it did not happen that a wait"),
        ("deadlocks::a_single_wait_can_have_the_option", "watchdog: it did not happen that a wait"),
        ("deadlocks::threads_that_try_again_after_a_refusal_proceed", "watchdog"),
        ("deadlocks::a_cycle_is_listed_until_it_ends", "watchdog: it did not happen that the deadlock is listed"),
        (
            "deadlocks::a_parent_that_holds_the_lock_of_its_child_is_listed_and_not_refused",
            "the parent is not listed as an ancestor of the waiter",
        ),
    ], {
    fn waiting(_: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        Ok(Waits::default())
    }
}}

listing! { NamesTheAsker, "names-the-asker", "Names the calling thread as the holder of a lock that another thread holds",
    &[
        ("deadlocks::a_chain_is_not_refused", "a wait was refused, although the holder of its lock waits for a thread"),
        ("deadlocks::a_wait_behind_a_cycle_is_not_refused", "a wait was refused, although it is in no cycle"),
        (
            "deadlocks::a_lock_that_another_thread_may_release_closes_no_cycle",
            "a wait was refused, although another thread of its process may release the lock",
        ),
        (
            "deadlocks::long_waits_for_holders_that_proceed_are_not_refused",
            "a wait was refused, although all threads acquire the locks in one order",
        ),
        (
            "deadlocks::a_parent_that_holds_the_lock_of_its_child_is_listed_and_not_refused",
            "a wait was refused, although the parent may not wait for its child",
        ),
    ], {
    fn holder(honest: &dyn RawLock) -> Result<Option<Holder>> {
        Ok(honest.holder()?.map(|_| this_thread()))
    }
}}

listing! { KeepsWaits, "keeps-waits", "Lists a thread whose wait has timed out until it acquires the lock",
    &[
        ("deadlocks::no_further_member_is_refused", "several members of one cycle were refused"),
        ("deadlocks::a_member_that_timed_out_closes_no_cycle", "a wait was refused, although the holder of its lock has given up"),
        ("deadlocks::a_cycle_is_listed_until_it_ends", "a member has given up waiting, but a deadlock is listed"),
    ], {
    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(KeptWaits { honest: honest.lock(id)?, directory: records(url), id }))
    }

    fn waiting(_: &dyn Manager, url: &StoreUrl) -> Result<Waits> {
        Ok(recorded(&records(url), is_alive))
    }
}}

listing! { KeepsTheDead, "keeps-the-dead", "Lists the dead as holders and as waiters",
    &[("deadlocks::a_killed_member_closes_no_cycle", "a wait was refused, although the holder of its lock is dead")], {
    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(KeptDead { honest: honest.lock(id)?, directory: records(url), id }))
    }

    fn waiting(_: &dyn Manager, url: &StoreUrl) -> Result<Waits> {
        Ok(recorded(&records(url), |_| true))
    }
}}

fn this_thread() -> Holder {
    Holder::of_process(process::id()).with_thread(gettid().as_raw().unsigned_abs())
}

/// Returns the directory of the records, which is beside that of the store.
fn records(url: &StoreUrl) -> PathBuf {
    let directory = url.location().with_extension("records");
    let _ = fs::create_dir(&directory);
    directory
}

/// The record of the wait of the calling thread.
fn wait_file(directory: &Path) -> PathBuf {
    directory.join(format!("{}-{}", process::id(), gettid()))
}

/// Returns the recorded waits of the processes that count.
fn recorded(directory: &Path, counts: impl Fn(u32) -> bool) -> Waits {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let waiter = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let (pid, tid) = name.to_str()?.split_once('-')?;
        let (pid, tid) = (pid.parse().ok()?, tid.parse().ok()?);
        let id: u32 = fs::read_to_string(entry.path()).ok()?.parse().ok()?;
        counts(pid).then(|| Waiter::new(LockId::new(id), Holder::of_process(pid).with_thread(tid)))
    };
    Waits::new(entries.filter_map(waiter).collect(), None)
}

/// A lock whose waiters stay recorded after a time-out.
#[derive(Debug)]
struct KeptWaits {
    honest: Arc<dyn RawLock>,
    directory: PathBuf,
    id: LockId,
}

impl RawLock for KeptWaits {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = self.honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        let _ = fs::write(wait_file(&self.directory), self.id.to_string());
        let acquired = self.honest.acquire(deadline)?;
        if acquired != Acquired::TimedOut {
            let _ = fs::remove_file(wait_file(&self.directory));
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

/// A lock that stays held by its dead owner, and whose waiters stay recorded after their death.
#[derive(Debug)]
struct KeptDead {
    honest: Arc<dyn RawLock>,
    directory: PathBuf,
    id: LockId,
}

impl KeptDead {
    /// The record of the owner: its process id and its thread id.
    fn owner_file(&self) -> PathBuf {
        self.directory.join(format!("owner of {}", self.id))
    }

    fn attempt(&self) -> Result<Acquired> {
        if self.owner_file().exists() {
            return Ok(Acquired::TimedOut);
        }
        let acquired = self.honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut {
            let _ = fs::write(self.owner_file(), format!("{} {}", process::id(), gettid()));
        }
        Ok(acquired)
    }
}

impl RawLock for KeptDead {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        loop {
            let acquired = self.attempt()?;
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                let _ = fs::remove_file(wait_file(&self.directory));
                return Ok(acquired);
            }
            let _ = fs::write(wait_file(&self.directory), self.id.to_string());
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let _ = fs::remove_file(self.owner_file());
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let text = fs::read_to_string(self.owner_file()).unwrap_or_default();
        let ids = text.split_once(' ').and_then(|(pid, tid)| Some((pid.parse().ok()?, tid.parse().ok()?)));
        Ok(ids.map(|(pid, tid)| Holder::of_process(pid).with_thread(tid)))
    }
}
