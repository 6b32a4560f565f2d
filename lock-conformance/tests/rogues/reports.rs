//! Wrong backends that keep or drop the report of a death incorrectly.

use std::cell::Cell;

use lock_core::{Capabilities, Cause, Condition, Deadline, Death, DeathReports, Holder, OwnerKind, Result};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::Faulty;
use super::ruled::{Attempt, Rule, Ruled, of, pid, ruled};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        ruled::<ForgetsAfterFiveOwners>(),
        ruled::<IsSilentWithADeadline>(),
        ruled::<IsSilentToAnOwnerOfTwo>(),
        ruled::<ForgetsAfterATimeout>(),
        ruled::<NamesTheFirstDeathAgain>(),
        ruled::<IsSilentAfterAMark>(),
        ruled::<UndoesTheFirstMark>(),
        ruled::<ForgetsInAParent>(),
        ruled::<ReadsTheReportBeforeTheWait>(),
        ruled::<RepeatsDeathsItClaimsToReportOnce>(),
    ]
}

#[derive(Debug)]
struct ForgetsAfterFiveOwners;

impl Rule for ForgetsAfterFiveOwners {
    const NAME: &'static str = "forgets-after-five-owners";
    const FAULT: &'static str = "Reports a death to the next five owners";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::each_owner_gets_the_report_until_one_marks_the_lock_consistent", "although no owner marked")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let death = death?;
        if death.cause == Cause::Panicked {
            return Some(death);
        }
        let reports = match lock.note()[..] {
            [dead, reports] if dead == pid(&death) => reports,
            _ => 0,
        };
        lock.write(&[pid(&death), reports + 1]);
        (reports < 5).then_some(death)
    }
}

#[derive(Debug)]
struct IsSilentWithADeadline;

impl Rule for IsSilentWithADeadline {
    const NAME: &'static str = "is-silent-with-a-deadline";
    const FAULT: &'static str = "Does not report a death to an owner that acquired the lock with a deadline and without a wait";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::every_way_to_acquire_reports_a_death", "lock_for does not report it")];

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        death.filter(|_| !matches!(attempt.deadline, Deadline::At(_)) || attempt.note_before_wait.is_some())
    }
}

thread_local! {
    /// The process of the thread and the number of locks that the thread holds. A forked child holds none.
    static HELD: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    /// Whether an acquisition timed out while the thread held a lock.
    static TIMED_OUT: Cell<bool> = const { Cell::new(false) };
}

fn held() -> u32 {
    let (process, held) = HELD.get();
    if process == std::process::id() { held } else { 0 }
}

fn count_held(change: i32) {
    HELD.set((std::process::id(), held().saturating_add_signed(change)));
}

#[derive(Debug)]
struct IsSilentToAnOwnerOfTwo;

impl Rule for IsSilentToAnOwnerOfTwo {
    const NAME: &'static str = "is-silent-to-an-owner-of-two";
    const FAULT: &'static str = "Does not report a death to a thread that holds another lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::lock_all_reports_each_death", "but the reports are wrong")];
    // The case of a killed parent that holds many locks catches it, too.
    const CAUGHT_BY_NO_OTHER: bool = false;

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        count_held(1);
        death.filter(|_| held() == 1)
    }

    fn release(_: &Ruled, _: Condition) {
        count_held(-1);
    }
}

#[derive(Debug)]
struct ForgetsAfterATimeout;

impl Rule for ForgetsAfterATimeout {
    const NAME: &'static str = "forgets-after-a-timeout";
    const FAULT: &'static str = "Drops a report when the owner that got it fails to acquire another lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_lock_all_that_times_out_keeps_the_report", "although no owner marked")];

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        count_held(1);
        death
    }

    fn timed_out(_: &Ruled) {
        TIMED_OUT.set(held() > 0);
    }

    fn release(lock: &Ruled, _: Condition) {
        count_held(-1);
        if TIMED_OUT.replace(false) {
            let _ = lock.honest.mark_consistent(OwnerKind::Thread, None);
        }
    }
}

#[derive(Debug)]
struct NamesTheFirstDeathAgain;

impl Rule for NamesTheFirstDeathAgain {
    const NAME: &'static str = "names-the-first-death-again";
    const FAULT: &'static str =
        "After several deaths, reports the last one to the next owner and the first one to the owner after it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::an_owner_that_dies_before_it_marks_is_reported_next", "received a report of another death")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let death = death?;
        if death.cause == Cause::Panicked {
            return Some(death);
        }
        match lock.note()[..] {
            [first, last] if last == pid(&death) && first != last => return Some(of(first, &death)),
            [first, _] => lock.write(&[first, pid(&death)]),
            _ => lock.write(&[pid(&death), pid(&death)]),
        }
        Some(death)
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[]);
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

#[derive(Debug)]
struct IsSilentAfterAMark;

impl Rule for IsSilentAfterAMark {
    const NAME: &'static str = "is-silent-after-a-mark";
    const FAULT: &'static str = "Does not report the death of an owner that marked the lock consistent";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::an_owner_that_dies_after_it_marked_is_reported", "although no owner marked")];
    // The storm cases catch it, too.
    const CAUGHT_BY_NO_OTHER: bool = false;

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        death.filter(|_| lock.note().is_empty())
    }

    fn release(lock: &Ruled, _: Condition) {
        lock.write(&[]);
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[1]);
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

#[derive(Debug)]
struct UndoesTheFirstMark;

impl Rule for UndoesTheFirstMark {
    const NAME: &'static str = "takes-the-second-mark-back";
    const FAULT: &'static str = "Undoes the first mark of an owner by the second one";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::marking_without_a_report_changes_nothing", "although an owner marked the lock consistent")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let marks = lock.note();
        lock.write(&[]);
        if marks.len() == 2 { Some(Death::of(None)) } else { death }
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[lock.note(), vec![1]].concat());
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

#[derive(Debug)]
struct ForgetsInAParent;

impl Rule for ForgetsInAParent {
    const NAME: &'static str = "forgets-in-a-parent";
    const FAULT: &'static str = "Drops a report when the owner that got it forks";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_child_cannot_mark_the_lock_of_its_parent", "although no owner marked")];

    fn release(lock: &Ruled, _: Condition) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::All, flags).is_ok() {
            let _ = lock.honest.mark_consistent(OwnerKind::Thread, None);
        }
    }
}

#[derive(Debug)]
struct ReadsTheReportBeforeTheWait;

impl Rule for ReadsTheReportBeforeTheWait {
    const NAME: &'static str = "reports-what-it-saw-before-it-slept";
    const FAULT: &'static str = "Reads the report before the wait instead of after the acquisition";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_sleeping_waiter_gets_no_report_after_the_owner_marked", "while it slept")];

    fn report(lock: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        if let Some(death) = &death {
            lock.write(&[pid(death)]);
        }
        let seen = attempt.note_before_wait.as_ref().and_then(|note| note.first());
        death.or_else(|| seen.map(|pid| Death::of(Some(Holder::of_process(*pid)))))
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[]);
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

#[derive(Debug)]
struct RepeatsDeathsItClaimsToReportOnce;

impl Rule for RepeatsDeathsItClaimsToReportOnce {
    const NAME: &'static str = "repeats-deaths-it-claims-to-report-once";
    const FAULT: &'static str = "Claims to report a death once, and repeats the report";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("owner_death::a_death_is_told_once_only", "the death was reported to a second owner")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_death_reports(DeathReports::Once);

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        death.filter(|death| death.cause != Cause::Panicked)
    }
}
