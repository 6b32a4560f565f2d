//! Wrong backends that report panics incorrectly.

use std::cell::Cell;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lock_core::{Capabilities, Cause, Condition, Death, DeathReports, Holder, OwnerKind, Result};

use super::Faulty;
use super::ruled::{Attempt, Rule, Ruled, is_alive, pid, ruled};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        ruled::<ForgetsPanicsAfterTwoOwners>(),
        ruled::<ReportsPanicsToOneProcess>(),
        ruled::<TakesPanicsForDeaths>(),
        ruled::<KeepsPanicsFromWaiters>(),
        ruled::<ReportsEveryReleaseWhilePanicking>(),
        ruled::<ForgetsWhilePanicking>(),
        ruled::<CountsPanics>(),
        ruled::<PrefersDeathsToPanics>(),
        ruled::<PrefersPanicsToDeaths>(),
        ruled::<ReportsPanicsItDisclaims>(),
    ]
}

#[derive(Debug)]
struct ForgetsPanicsAfterTwoOwners;

impl Rule for ForgetsPanicsAfterTwoOwners {
    const NAME: &'static str = "forgets-panics-after-two-owners";
    const FAULT: &'static str = "Reports a panic to the next two owners";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "death_reports::a_panic_is_reported_until_an_owner_marks_the_lock_consistent",
        "but the next owner received no report",
    )];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let reports = if panicked(&death) { lock.note().first().copied().unwrap_or(0) } else { 0 };
        lock.write(&[reports + u32::from(panicked(&death))]);
        death.filter(|_| reports < 2)
    }
}

#[derive(Debug)]
struct ReportsPanicsToOneProcess;

impl Rule for ReportsPanicsToOneProcess {
    const NAME: &'static str = "reports-panics-to-one-process";
    const FAULT: &'static str = "Reports a panic only to threads of the same process";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_panic_is_reported_to_other_processes", "but the next owner received no report")];
    // The case of a panic that closes the store catches it, too.
    const CAUGHT_BY_NO_OTHER: bool = false;

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        if !panicked(&death) {
            lock.write(&[]);
            return death;
        }
        if lock.note().is_empty() {
            lock.write(&[std::process::id()]);
        }
        death.filter(|_| lock.note() == [std::process::id()])
    }
}

#[derive(Debug)]
struct TakesPanicsForDeaths;

impl Rule for TakesPanicsForDeaths {
    const NAME: &'static str = "takes-panics-for-deaths";
    const FAULT: &'static str = "Reports a panic as a death if the owner's process has ended since";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_panic_keeps_its_cause_after_the_death_of_its_process", "the report has another cause")];

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let ended = panicked(&death) && !is_alive(pid(death.as_ref()?));
        if ended { death.map(|death| death.with_cause(Cause::ProcessEnded)) } else { death }
    }
}

#[derive(Debug)]
struct KeepsPanicsFromWaiters;

impl Rule for KeepsPanicsFromWaiters {
    const NAME: &'static str = "keeps-panics-from-waiters";
    const FAULT: &'static str = "Does not report a panic to a thread that waited for the lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_sleeping_waiter_gets_the_report_of_a_panic", "but the next owner received no report")];

    fn report(_: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        if panicked(&death) && attempt.note_before_wait.is_some() { None } else { death }
    }
}

#[derive(Debug)]
struct ReportsEveryReleaseWhilePanicking;

static RELEASED_WHILE_PANICKING: AtomicBool = AtomicBool::new(false);

impl Rule for ReportsEveryReleaseWhilePanicking {
    const NAME: &'static str = "reports-every-release-while-panicking";
    const FAULT: &'static str = "Reports each release during a panic as the panic of an owner";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "death_reports::an_acquisition_while_unwinding_is_no_report",
        "although the panic began before the lock was acquired",
    )];

    fn report(_: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let released = RELEASED_WHILE_PANICKING.swap(false, Ordering::Relaxed);
        death.or_else(|| released.then(own_panic))
    }

    fn release(_: &Ruled, _: Condition) {
        RELEASED_WHILE_PANICKING.store(thread::panicking(), Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct ForgetsWhilePanicking;

impl Rule for ForgetsWhilePanicking {
    const NAME: &'static str = "forgets-while-panicking";
    const FAULT: &'static str = "Drops a report when the owner that got it panics";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::an_acquisition_while_unwinding_keeps_the_report", "but the next owner received no report")];

    fn release(lock: &Ruled, condition: Condition) {
        if thread::panicking() && condition == Condition::Inconsistent {
            let _ = lock.honest.mark_consistent(OwnerKind::Thread, None);
        }
    }
}

#[derive(Debug)]
struct CountsPanics;

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
    /// The number of panics at the time when the thread acquired a lock.
    static BEFORE: Cell<u32> = const { Cell::new(0) };
}

impl Rule for CountsPanics {
    const NAME: &'static str = "counts-panics";
    const FAULT: &'static str = "Reports every panic of a thread that holds the lock, even if the thread catches the panic";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_panic_that_is_caught_inside_is_no_report", "although the panic was caught")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        count_panics();
        BEFORE.set(PANICS.get());
        let counted = !lock.note().is_empty();
        lock.write(&[]);
        death.or_else(|| counted.then(own_panic))
    }

    fn release(lock: &Ruled, _: Condition) {
        if !thread::panicking() && PANICS.get() != BEFORE.get() {
            lock.write(&[1]);
        }
    }
}

fn count_panics() {
    static ONCE: Once = Once::new();
    // A panicking thread cannot set the panic hook.
    if !thread::panicking() {
        ONCE.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                PANICS.set(PANICS.get() + 1);
                before(info);
            }));
        });
    }
}

#[derive(Debug)]
struct PrefersDeathsToPanics;

impl Rule for PrefersDeathsToPanics {
    const NAME: &'static str = "prefers-deaths-to-panics";
    const FAULT: &'static str = "Reports an earlier death instead of the panic of the next owner";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_panic_after_a_death_is_reported_next", "the report has another cause")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        match (&death, lock.note().first()) {
            (Some(later), Some(earlier)) if later.cause == Cause::Panicked => {
                return Some(Death::of(Some(Holder::of_process(*earlier))));
            }
            (Some(death), _) if death.cause != Cause::Panicked => lock.write(&[pid(death)]),
            _ => {}
        }
        death
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[]);
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

#[derive(Debug)]
struct PrefersPanicsToDeaths;

impl Rule for PrefersPanicsToDeaths {
    const NAME: &'static str = "prefers-panics-to-deaths";
    const FAULT: &'static str = "Reports the death of the next owner after a panic as a panic, too";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_death_after_a_panic_is_reported_next", "but a panic is reported")];

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        if panicked(&death) {
            lock.write(&[1]);
        }
        if lock.note().is_empty() { death } else { death.map(|death| death.with_cause(Cause::Panicked)) }
    }

    fn mark(lock: &Ruled) -> Result<()> {
        lock.write(&[]);
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

#[derive(Debug)]
struct ReportsPanicsItDisclaims;

impl Rule for ReportsPanicsItDisclaims {
    const NAME: &'static str = "reports-panics-it-disclaims";
    const FAULT: &'static str = "Claims to report only deaths, and reports panics";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("death_reports::a_panic_is_not_reported", "although the backend does not claim to report panics")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_death_reports(DeathReports::Once);

    fn report(lock: &Ruled, death: Option<Death>, _: &Attempt) -> Option<Death> {
        let _ = lock.honest.mark_consistent(OwnerKind::Thread, None);
        death
    }
}

fn panicked(death: &Option<Death>) -> bool {
    death.as_ref().is_some_and(|death| death.cause == Cause::Panicked)
}

fn own_panic() -> Death {
    Death::of(Some(Holder::of_process(std::process::id()))).with_cause(Cause::Panicked)
}
