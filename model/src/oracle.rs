//! What has to hold: what the scenario knows of the locks and ids beside what is in memory.

use crate::bounds::{EARLIER, IDS, LOCKS, name};
use crate::death::{Cause, Condition, Death};
use crate::note::{Leaving, Phase, Stage};
use crate::scenario::{Left, Scenario};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Id {
    #[default]
    Free,
    Of(usize),
    /// It is being freed by this thread.
    GivenBy(usize),
}

/// What is known of a lock.
#[derive(Clone, Copy, Hash, Debug, Default)]
struct Lock {
    inside: Option<usize>,
    token: u64,
    /// A thread died inside, and no owner has marked the lock consistent since: each owner has to be told.
    unresolved: bool,
    /// The threads whose deaths the next owner may be told of.
    tellable: u64,
    /// The threads that panicked inside.
    panicked: u64,
}

/// What was known of a lock before a thread had it.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) struct Entered {
    pub(crate) lock: usize,
    before: Lock,
}

#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) deaths_left: usize,
    pub(crate) deaths: usize,
    /// How often somebody may still wake for no reason.
    pub(crate) interrupts_left: usize,
    /// How often a sleep may still end by its bound, when nothing else can happen.
    pub(crate) sleeps_left: usize,
    /// A thread died in such a way that others may have to wait for that.
    pub(crate) may_oversleep: bool,
    locks: [Lock; LOCKS],
    pub(crate) ids: [Id; IDS],
    /// Who died while allocating.
    pub(crate) died_allocating: u64,
    pub(crate) claimant: Option<usize>,
    pub(crate) wrong: Option<String>,
}

impl Oracle {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let left = Lock { unresolved: true, tellable: 1 << EARLIER, ..Lock::default() };
        Self {
            locks: if scenario.left == Left::Nothing { Default::default() } else { [left, Lock::default()] },
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
        // The threads of a process die together.
        self.deaths_left = self.deaths_left.saturating_sub(1);
        self.deaths += 1;
        self.may_oversleep |= may_oversleep;
        for (lock, phase) in self.locks.iter_mut().zip(stage.locks) {
            // Another thread inside has the lock, and this one has not.
            if phase != Phase::Outside && lock.inside.is_none_or(|inside| inside == thread) {
                lock.tellable |= 1 << thread;
            }
            if phase == Phase::Inside {
                *lock = Lock { inside: None, unresolved: true, tellable: 1 << thread, ..*lock };
            }
        }
        if stage.allocating {
            self.died_allocating |= 1 << thread;
        }
        if self.claimant == Some(thread) {
            self.claimant = None;
        }
    }

    /// A thread has a lock. Returns what was known before.
    pub(crate) fn enter(&mut self, thread: usize, lock: usize, token: u64, told: Option<Death>) -> Entered {
        let before = self.locks[lock];
        if let Some(other) = before.inside {
            self.wrong(format!("it is inside together with {}", name(other)));
        }
        if token <= before.token {
            self.wrong(format!("the token {token} is not greater than {}, which was given before", before.token));
        }
        let tellable = match told {
            None if before.unresolved => {
                self.wrong("a thread died inside, and it is not told".to_owned());
                0
            }
            None => 0,
            Some(death) => self.told_of(before, death),
        };
        self.locks[lock] = Lock { inside: Some(thread), token, unresolved: told.is_some(), tellable, ..before };
        Entered { lock, before }
    }

    /// Checks what an owner is told. Returns what the next one may be told if this one does not mark the lock consistent.
    fn told_of(&mut self, before: Lock, death: Death) -> u64 {
        let Some(thread) = death.thread else {
            self.wrong("it is told of the death of no thread".to_owned());
            return 0;
        };
        if before.tellable & 1 << thread == 0 {
            self.wrong(format!("it is told of the death of {}, which did not die inside, or was dealt with", name(thread)));
        }
        if death.cause == Cause::Panicked && before.panicked & 1 << thread == 0 {
            self.wrong(format!("it is told that {} panicked, which did not", name(thread)));
        }
        1 << thread
    }

    /// The thread that had a lock died before it knew.
    pub(crate) fn take_back(&mut self, Entered { lock, before }: Entered) {
        let now = &mut self.locks[lock];
        let (unresolved, tellable) = (now.unresolved | before.unresolved, now.tellable | before.tellable);
        *now = Lock { unresolved, tellable, ..before };
    }

    /// The owner has marked a lock consistent.
    pub(crate) fn mark(&mut self, lock: usize) {
        (self.locks[lock].unresolved, self.locks[lock].tellable) = (false, 0);
    }

    /// A thread is about to release a lock, or to end while it holds it.
    pub(crate) fn leave(&mut self, thread: usize, lock: usize, leaving: Leaving) {
        let now = &mut self.locks[lock];
        let was_inside = now.inside.take() == Some(thread);
        if leaving != Leaving::Released(Condition::Consistent) && leaving != Leaving::Released(Condition::Inconsistent) {
            (now.unresolved, now.tellable) = (true, 1 << thread);
        }
        if leaving == Leaving::Released(Condition::Panicked) {
            now.panicked |= 1 << thread;
        }
        if !was_inside {
            self.wrong("another was inside meanwhile".to_owned());
        }
    }
}
