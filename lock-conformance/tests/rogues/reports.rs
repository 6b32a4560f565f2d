//! Rogues that keep or drop the report of a death wrongly.

use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Condition, Deadline, Death, DeathReports, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result,
    StoreUrl,
};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::Sinner;
use super::ruled::{Attempt, Rule, Ruled, is_alive, of, pid, ruled};
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        ruled::<ForgetsAfterFiveOwners>(),
        ruled::<IsSilentWithADeadline>(),
        ruled::<IsSilentToAnOwnerOfTwo>(),
        ruled::<ForgetsAfterATimeout>(),
        ruled::<NamesTheFirstDeathAgain>(),
        ruled::<IsSilentAfterAMark>(),
        ruled::<TakesTheSecondMarkBack>(),
        ruled::<ForgetsInAParent>(),
        ruled::<ReportsWhatItSawBeforeItSlept>(),
        ruled::<RepeatsDeathsItClaimsToReportOnce>(),
        sinner::<FreesTheReportWithTheId>(),
        sinner::<ForgetsWhenAllHaveClosedTheStore>(),
        sinner::<WakesNobodyAfterAnInconsistentRelease>(),
    ]
}

/// Reports a death to the next five owners.
#[derive(Debug)]
struct ForgetsAfterFiveOwners;

impl Rule for ForgetsAfterFiveOwners {
    const NAME: &'static str = "forgets-after-five-owners";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::each_owner_gets_the_report_until_one_marks_the_lock_consistent", "and no owner marked")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let death = death?;
        let reports = match lock.note()[..] {
            [dead, reports] if dead == pid(&death) => reports,
            _ => 0,
        };
        lock.write(&[pid(&death), reports + 1]);
        (reports < 5).then_some(death)
    }
}

/// Reports nothing to an owner that acquired the lock with a deadline.
#[derive(Debug)]
struct IsSilentWithADeadline;

impl Rule for IsSilentWithADeadline {
    const NAME: &'static str = "is-silent-with-a-deadline";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::every_way_to_acquire_reports_a_death", "lock_for does not report it")];

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        death.filter(|_| !matches!(attempt.deadline, Deadline::At(_)))
    }
}

thread_local! {
    /// The number of locks that the thread holds.
    static HELD: Cell<u32> = const { Cell::new(0) };
    /// Whether an acquisition timed out while the thread held a lock.
    static TIMED_OUT: Cell<bool> = const { Cell::new(false) };
}

/// Reports nothing to an owner of another lock.
#[derive(Debug)]
struct IsSilentToAnOwnerOfTwo;

impl Rule for IsSilentToAnOwnerOfTwo {
    const NAME: &'static str = "is-silent-to-an-owner-of-two";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("news::lock_all_reports_each_death", "got other reports")];

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let others = HELD.replace(HELD.get() + 1);
        death.filter(|_| others == 0)
    }

    fn release(_: &Ruled, _: Condition) {
        HELD.set(HELD.get() - 1);
    }
}

/// Drops a report when its owner fails to acquire another lock.
#[derive(Debug)]
struct ForgetsAfterATimeout;

impl Rule for ForgetsAfterATimeout {
    const NAME: &'static str = "forgets-after-a-timeout";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::a_lock_all_that_times_out_keeps_the_report", "and no owner marked")];

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        HELD.set(HELD.get() + 1);
        death
    }

    fn timed_out(_: &Ruled) {
        TIMED_OUT.set(HELD.get() > 0);
    }

    fn release(lock: &Ruled, _: Condition) {
        HELD.set(HELD.get() - 1);
        if TIMED_OUT.replace(false) {
            let _ = lock.honest.mark_consistent();
        }
    }
}

/// Of several deaths, reports the latest to the next owner and the first to the owner after that one.
#[derive(Debug)]
struct NamesTheFirstDeathAgain;

impl Rule for NamesTheFirstDeathAgain {
    const NAME: &'static str = "names-the-first-death-again";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::an_owner_that_dies_before_it_marks_is_reported_next", "got the report of another one")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let death = death?;
        if death.cause == lock_core::Cause::Panicked {
            return Some(death);
        }
        match lock.note()[..] {
            [first, last] if last == pid(&death) => return Some(of(first, &death)),
            [first, _] => lock.write(&[first, pid(&death)]),
            _ => lock.write(&[pid(&death), pid(&death)]),
        }
        Some(death)
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[]);
        lock.honest.mark_consistent()
    }
}

/// Takes a marked lock for one that is in order, whatever becomes of its owner.
#[derive(Debug)]
struct IsSilentAfterAMark;

impl Rule for IsSilentAfterAMark {
    const NAME: &'static str = "is-silent-after-a-mark";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::an_owner_that_dies_after_it_marked_is_reported", "and no owner marked")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        death.filter(|_| lock.note().is_empty())
    }

    fn release(lock: &Ruled, _: Condition) {
        lock.write(&[]);
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[1]);
        lock.honest.mark_consistent()
    }
}

/// Lets the second mark of an owner undo the first.
#[derive(Debug)]
struct TakesTheSecondMarkBack;

impl Rule for TakesTheSecondMarkBack {
    const NAME: &'static str = "takes-the-second-mark-back";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::marking_without_a_report_changes_nothing", "although an owner marked the lock consistent")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let marks = lock.note();
        lock.write(&[]);
        if marks.len() == 2 { Some(Death::of(None)) } else { death }
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[lock.note(), vec![1]].concat());
        lock.honest.mark_consistent()
    }
}

/// Drops a report when its owner has a child.
#[derive(Debug)]
struct ForgetsInAParent;

impl Rule for ForgetsInAParent {
    const NAME: &'static str = "forgets-in-a-parent";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::a_child_cannot_mark_the_lock_of_its_parent", "and no owner marked")];

    fn release(lock: &Ruled, _: Condition) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::All, flags).is_ok() {
            let _ = lock.honest.mark_consistent();
        }
    }
}

/// Reads the report before it waits, and not when it has acquired the lock.
#[derive(Debug)]
struct ReportsWhatItSawBeforeItSlept;

impl Rule for ReportsWhatItSawBeforeItSlept {
    const NAME: &'static str = "reports-what-it-saw-before-it-slept";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::a_sleeping_waiter_gets_no_report_after_the_owner_marked", "while it slept")];

    fn report(lock: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        if let Some(death) = &death {
            lock.write(&[pid(death)]);
        }
        let seen = attempt.note_before_wait.as_ref().and_then(|note| note.first());
        death.or_else(|| seen.map(|pid| Death::of(Some(Holder::of_process(*pid)))))
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[]);
        lock.honest.mark_consistent()
    }
}

/// Claims to report a death once, and repeats it.
#[derive(Debug)]
struct RepeatsDeathsItClaimsToReportOnce;

impl Rule for RepeatsDeathsItClaimsToReportOnce {
    const NAME: &'static str = "repeats-deaths-it-claims-to-report-once";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::a_death_is_told_once_only", "the death was told to its second owner, too")];
    const CLAIMS: Capabilities = reference::CLAIMS.death_reports(DeathReports::Once);

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        death.filter(|death| death.cause != lock_core::Cause::Panicked)
    }
}

/// Drops the report of a lock whose id is freed.
#[derive(Debug)]
struct FreesTheReportWithTheId;

impl Sin for FreesTheReportWithTheId {
    const NAME: &'static str = "frees-the-report-with-the-id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::freeing_and_allocating_again_keeps_the_report", "and no owner marked")];

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let _ = fs::write(freed(url, id), "");
        honest.free(id, None)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(SilentIf { honest: honest.lock(id)?, is_silent: Box::new(is_there(freed(url, id))) }))
    }
}

fn freed(url: &StoreUrl, id: LockId) -> String {
    format!("{}/freed-{id}", url.place())
}

fn is_there(file: String) -> impl Fn() -> bool + Send + Sync {
    move || fs::metadata(&file).is_ok()
}

/// Drops all reports when no process has the store open.
#[derive(Debug)]
struct ForgetsWhenAllHaveClosedTheStore;

impl Sin for ForgetsWhenAllHaveClosedTheStore {
    const NAME: &'static str = "forgets-when-all-have-closed-the-store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::a_report_outlives_all_processes_that_have_the_store_open", "and no owner marked")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let opened = reference::open(url, mode)?;
        let processes = format!("{}/processes", url.place());
        let before = fs::read_to_string(&processes).unwrap_or_default();
        if !before.is_empty() && !before.lines().filter_map(|pid| pid.parse().ok()).any(is_alive) {
            let _ = fs::write(format!("{}/forgotten", url.place()), "");
        }
        let _ = fs::write(&processes, format!("{before}{}\n", std::process::id()));
        Ok(opened)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let forgotten = format!("{}/forgotten", url.place());
        Ok(Arc::new(SilentIf { honest: honest.lock(id)?, is_silent: Box::new(is_there(forgotten)) }))
    }
}

/// A lock that reports nothing under a condition.
struct SilentIf {
    honest: Arc<dyn RawLock>,
    is_silent: Box<dyn Fn() -> bool + Send + Sync>,
}

impl RawLock for SilentIf {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(match self.honest.acquire(deadline)? {
            Acquired::Recovered(recovery) if (self.is_silent)() => Acquired::Held { token: recovery.token },
            acquired => acquired,
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self) -> Result<()> {
        self.honest.mark_consistent()
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

impl std::fmt::Debug for SilentIf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SilentIf").finish_non_exhaustive()
    }
}

/// Wakes no waiter when an owner releases the lock without marking it.
#[derive(Debug)]
struct WakesNobodyAfterAnInconsistentRelease;

impl Sin for WakesNobodyAfterAnInconsistentRelease {
    const NAME: &'static str = "wakes-nobody-after-an-inconsistent-release";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("news::sleeping_waiters_each_get_the_report_and_none_is_lost", "watchdog")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let file = format!("{}/asleep-{id}", url.place());
        Ok(Arc::new(Sleeping { honest: honest.lock(id)?, file }))
    }
}

/// A lock whose waiters sleep while a file says so.
#[derive(Debug)]
struct Sleeping {
    honest: Arc<dyn RawLock>,
    file: String,
}

impl RawLock for Sleeping {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut acquired = self.honest.acquire(Deadline::Now)?;
        while acquired == Acquired::TimedOut && !deadline.has_passed() {
            thread::sleep(Duration::from_micros(500));
            if fs::metadata(&self.file).is_err() {
                acquired = self.honest.acquire(Deadline::Now)?;
            }
        }
        if acquired != Acquired::TimedOut {
            let _ = fs::remove_file(&self.file);
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        if proof.condition() == Condition::Inconsistent {
            let _ = fs::write(&self.file, "");
        }
        self.honest.release(proof)
    }

    fn mark_consistent(&self) -> Result<()> {
        self.honest.mark_consistent()
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}
