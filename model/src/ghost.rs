//! What has to hold: what the scenario knows of the locks and ids beside what is in memory.

use crate::scenario::Scenario;
use crate::world::World;

/// How many locks there are.
pub(crate) const LOCKS: usize = 2;
/// How many ids are free at the start: those from [`FIRST`](crate::scene::FIRST) on.
pub(crate) const IDS: usize = 2;

/// Where a thread is with a lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Outside,
    /// Its `acquire` has not returned.
    Acquiring,
    Inside,
    /// Its `release` has not returned.
    Releasing,
}

/// What a thread is doing, for those who judge its death.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Stage {
    pub(crate) locks: [Phase; LOCKS],
    pub(crate) allocating: bool,
}

/// What a thread was told, or is about to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// It has the lock; the token; who is said to have died in it.
    Enter { lock: usize, token: u64, dead: Option<usize> },
    /// It is about to release.
    Leave { lock: usize },
    /// It does without the lock.
    Without { lock: usize },
    /// An id was allocated.
    Took { id: usize },
    /// It is about to free it.
    Giving { id: usize },
    /// It is free.
    Gave { id: usize },
    /// It has a claim.
    Claimed,
    /// It is about to give that back.
    Unclaiming,
    /// What must not be.
    Wrong(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Id {
    #[default]
    Free,
    Of(usize),
    /// It is being freed by this thread.
    GivenBy(usize),
}

/// What was known of a lock before somebody had it.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) struct Entered {
    pub(crate) lock: usize,
    token: u64,
    untold: bool,
    tellable: u64,
}

#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Ghost {
    pub(crate) deaths_left: usize,
    pub(crate) deaths: usize,
    /// How often somebody may still wake for no reason.
    pub(crate) interrupts_left: usize,
    /// How often a sleep may still end by its bound, when nothing else can happen.
    pub(crate) sleeps_left: usize,
    /// A death was of a kind after which others may have to wait for that.
    pub(crate) may_oversleep: bool,
    /// The same, with no death at all.
    sleeps_anyway: bool,
    inside: [Option<usize>; LOCKS],
    token: [u64; LOCKS],
    /// Somebody died inside, and nobody has been told.
    untold: [bool; LOCKS],
    /// Whose death the next owner may be told of.
    tellable: [u64; LOCKS],
    pub(crate) ids: [Id; IDS],
    /// Who died while allocating.
    pub(crate) died_allocating: u64,
    claimant: Option<usize>,
    pub(crate) wrong: Option<String>,
}

impl Ghost {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            deaths_left: scenario.deaths,
            interrupts_left: scenario.interrupts,
            sleeps_left: 2 * scenario.threads(),
            sleeps_anyway: scenario.oversleeps(),
            ids: [Id::Free; IDS],
            ..Self::default()
        }
    }

    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn may_oversleep(&self) -> bool {
        (self.may_oversleep || self.sleeps_anyway) && self.sleeps_left > 0
    }

    pub(crate) fn died(&mut self, thread: usize, stage: Stage, may_oversleep: bool) {
        self.deaths_left -= 1;
        self.deaths += 1;
        self.may_oversleep |= may_oversleep;
        for (lock, phase) in stage.locks.into_iter().enumerate() {
            if phase != Phase::Outside {
                self.tellable[lock] |= 1 << thread;
            }
            if phase == Phase::Inside {
                self.untold[lock] = true;
                self.inside[lock] = None;
            }
        }
        if stage.allocating {
            self.died_allocating |= 1 << thread;
        }
        if self.claimant == Some(thread) {
            self.claimant = None;
        }
    }

    /// Somebody has a lock. Returns what is changed by that.
    pub(crate) fn enter(&mut self, thread: usize, lock: usize, token: u64, dead: Option<usize>) -> Entered {
        let before = Entered { lock, token: self.token[lock], untold: self.untold[lock], tellable: self.tellable[lock] };
        if let Some(other) = self.inside[lock].replace(thread) {
            self.wrong(format!("it is inside together with {}", crate::scene::name(other)));
        }
        if token <= self.token[lock] {
            self.wrong(format!("the token {token} is not greater than {}, which was given before", self.token[lock]));
        }
        self.token[lock] = token;
        match dead {
            None if self.untold[lock] => self.wrong("somebody died inside, and it is not told".to_owned()),
            Some(dead) if self.tellable[lock] & 1 << dead == 0 => {
                self.wrong(format!("it is told that {} died, who did not", crate::scene::name(dead)));
            }
            _ => {}
        }
        (self.untold[lock], self.tellable[lock]) = (false, 0);
        before
    }

    /// The thread that had a lock died before it knew.
    pub(crate) fn take_back(&mut self, before: Entered) {
        let Entered { lock, token, untold, tellable } = before;
        (self.inside[lock], self.token[lock]) = (None, token);
        self.untold[lock] |= untold;
        self.tellable[lock] |= tellable;
    }

    /// Somebody is about to release a lock.
    pub(crate) fn leave(&mut self, thread: usize, lock: usize) {
        if self.inside[lock].take() != Some(thread) {
            self.wrong("another was inside meanwhile".to_owned());
        }
    }
}

impl World {
    pub(crate) fn note(&mut self, number: usize, note: Note) {
        let (ghost, thread) = (&mut self.ghost, &mut self.threads[number]);
        match note {
            Note::Enter { .. } | Note::Leave { .. } => unreachable!("these are no steps"),
            Note::Without { lock } => {
                (thread.stage.locks[lock], thread.woken, thread.armed) = (Phase::Outside, false, false);
            }
            Note::Took { id } => {
                thread.stage.allocating = false;
                if let Id::Of(other) = ghost.ids[id] {
                    ghost.wrong(format!("it gets an id that {} has", crate::scene::name(other)));
                }
                ghost.ids[id] = Id::Of(number);
            }
            Note::Giving { id } => {
                if std::mem::replace(&mut ghost.ids[id], Id::GivenBy(number)) != Id::Of(number) {
                    ghost.wrong("its id became another's".to_owned());
                }
            }
            Note::Gave { id } => {
                if ghost.ids[id] == Id::GivenBy(number) {
                    ghost.ids[id] = Id::Free;
                }
            }
            Note::Claimed => {
                if let Some(other) = ghost.claimant.replace(number) {
                    ghost.wrong(format!("it has a claim that {} has", crate::scene::name(other)));
                }
            }
            Note::Unclaiming => {
                if ghost.claimant.take() != Some(number) {
                    ghost.wrong("its claim became another's".to_owned());
                }
            }
            Note::Wrong(what) => ghost.wrong(what.to_owned()),
        }
    }
}
