//! The oracle: the expected state of the locks and ids, independent of the simulated memory.

use crate::bounds::{EARLIER, IDS, LOCKS, name};
use crate::death::{Cause, Condition, Death};
use crate::note::{Leaving, Phase, Stage};
use crate::scenario::{InitialLock, Scenario};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Id {
    #[default]
    Free,
    Of(usize),
    /// This thread is freeing it.
    BeingFreedBy(usize),
}

/// The expected state of a lock.
#[derive(Clone, Copy, Hash, Debug, Default)]
struct Lock {
    inside: Option<usize>,
    token: u64,
    /// A thread died inside, and no owner has marked the lock consistent since. Each owner must get a report.
    unresolved: bool,
    /// The threads whose deaths may be reported to the next owner, as a bit mask.
    reportable: u64,
    /// The threads that panicked inside, as a bit mask.
    panicked: u64,
}

/// The expected state of a lock before an acquisition, to undo it.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) struct Entered {
    pub(crate) lock: usize,
    before: Lock,
}

#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) deaths_left: usize,
    pub(crate) deaths: usize,
    /// Remaining number of spurious wake-ups.
    pub(crate) interrupts_left: usize,
    /// Remaining number of sleeps that may reach their time limit.
    pub(crate) sleeps_left: usize,
    /// Whether a death may have lost a wake-up, so that any sleep may reach its time limit.
    pub(crate) may_oversleep: bool,
    locks: [Lock; LOCKS],
    pub(crate) ids: [Id; IDS],
    /// The threads that died during an allocation, as a bit mask.
    pub(crate) died_allocating: u64,
    pub(crate) claimant: Option<usize>,
    pub(crate) wrong: Option<String>,
}

impl Oracle {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let left = Lock { unresolved: true, reportable: 1 << EARLIER, ..Lock::default() };
        Self {
            locks: if scenario.initial == InitialLock::Free { Default::default() } else { [left, Lock::default()] },
            deaths_left: scenario.deaths,
            interrupts_left: scenario.interrupts,
            sleeps_left: 2 * scenario.threads(),
            may_oversleep: scenario.oversleeps(),
            ids: [Id::Free; IDS],
            ..Self::default()
        }
    }

    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn died(&mut self, thread: usize, stage: Stage, may_oversleep: bool) {
        // The threads of a process die together, so more threads may die than the scenario has deaths.
        self.deaths_left = self.deaths_left.saturating_sub(1);
        self.deaths += 1;
        self.may_oversleep |= may_oversleep;
        for (lock, phase) in self.locks.iter_mut().zip(stage.locks) {
            // If another thread is inside, this one does not have the lock.
            if phase != Phase::Outside && lock.inside.is_none_or(|inside| inside == thread) {
                lock.reportable |= 1 << thread;
            }
            if phase == Phase::Inside {
                *lock = Lock { inside: None, unresolved: true, reportable: 1 << thread, ..*lock };
            }
        }
        if stage.allocating {
            self.died_allocating |= 1 << thread;
        }
        if self.claimant == Some(thread) {
            self.claimant = None;
        }
    }

    /// Records an acquisition. Returns the state before it.
    pub(crate) fn enter(&mut self, thread: usize, lock: usize, token: u64, reported: Option<Death>) -> Entered {
        let before = self.locks[lock];
        if let Some(other) = before.inside {
            self.wrong(format!("it is in the critical section together with {}", name(other)));
        }
        if token <= before.token {
            self.wrong(format!("the token {token} is not greater than the earlier token {}", before.token));
        }
        let reportable = match reported {
            None if before.unresolved => {
                self.wrong("a thread died inside, and the death is not reported".to_owned());
                0
            }
            None => 0,
            Some(death) => self.check_report(before, death),
        };
        self.locks[lock] = Lock { inside: Some(thread), token, unresolved: reported.is_some(), reportable, ..before };
        Entered { lock, before }
    }

    /// Checks the report of a death. Returns the deaths that may be reported next if the owner does not mark the lock consistent.
    fn check_report(&mut self, before: Lock, death: Death) -> u64 {
        let Some(thread) = death.thread else {
            self.wrong("the reported death is that of no thread".to_owned());
            return 0;
        };
        if before.reportable & 1 << thread == 0 {
            self.wrong(format!(
                "the death of {} is reported, which did not die inside, or whose death was resolved",
                name(thread)
            ));
        }
        if death.cause == Cause::Panicked && before.panicked & 1 << thread == 0 {
            self.wrong(format!("a panic of {} is reported, which did not panic", name(thread)));
        }
        1 << thread
    }

    /// Undoes an acquisition, because the thread died before the acquisition returned.
    pub(crate) fn undo_enter(&mut self, Entered { lock, before }: Entered) {
        let now = &mut self.locks[lock];
        let (unresolved, reportable) = (now.unresolved | before.unresolved, now.reportable | before.reportable);
        *now = Lock { unresolved, reportable, ..before };
    }

    /// Records that the owner has marked a lock consistent.
    pub(crate) fn mark(&mut self, lock: usize) {
        (self.locks[lock].unresolved, self.locks[lock].reportable) = (false, 0);
    }

    /// Records that a thread is about to release a lock, or to end while it holds it.
    pub(crate) fn leave(&mut self, thread: usize, lock: usize, leaving: Leaving) {
        let now = &mut self.locks[lock];
        let was_inside = now.inside.take() == Some(thread);
        if leaving != Leaving::Released(Condition::Consistent) && leaving != Leaving::Released(Condition::Inconsistent) {
            (now.unresolved, now.reportable) = (true, 1 << thread);
        }
        if leaving == Leaving::Released(Condition::Panicked) {
            now.panicked |= 1 << thread;
        }
        if !was_inside {
            self.wrong("another thread has entered its critical section".to_owned());
        }
    }
}
