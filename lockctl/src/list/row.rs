//! A lock of a listing. The names are stable in JSON, because scripts read them. `docs/lockctl-json.md` describes them.

use std::time::Duration;

use lock_any::{Allocation, Death, Generation, HeldLock, Holder, Label, Lock, LockId, Store, UnresolvedDeath};
use lock_proc::{Life, Lives};
use serde::Serialize;

use crate::entries;
use crate::exit::Failure;
use crate::facts::{Entry, seconds};

/// The state of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// No thread holds it.
    Free,
    /// A thread or a process holds it.
    Held,
    /// Its holder is dead. The next owner takes it over, or it has to be broken.
    DeadHolder,
    /// No thread holds it, and a death is not dealt with: no owner has marked the protected data consistent.
    Inconsistent,
    /// It is held, or may be held, and the holder is not certain.
    Doubt,
    /// The backend does not know whether it is held.
    Unknown,
}

impl State {
    /// Returns the state for a table.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Held => "held",
            Self::DeadHolder => "dead holder",
            Self::Inconsistent => "inconsistent",
            Self::Doubt => "doubt",
            Self::Unknown => "?",
        }
    }
}

/// A lock that is allocated, held, waited for, or has a death that is not dealt with.
#[derive(Clone, Serialize, Debug)]
pub(crate) struct Row {
    pub(crate) id: LockId,
    pub(crate) state: State,
    pub(crate) allocated: bool,
    pub(crate) label: Label,
    /// True if the label is the name of the lock.
    pub(crate) is_named: bool,
    /// True if the id was allocated for as long as its allocator lives.
    pub(crate) is_temporary: bool,
    pub(crate) generation: Option<Generation>,
    pub(crate) since: Option<u64>,
    pub(crate) allocator: Option<Holder>,
    /// `None` if it is unknown.
    pub(crate) allocator_lives: Option<bool>,
    /// `None` if the backend does not know.
    pub(crate) held: Option<bool>,
    pub(crate) holder: Option<Holder>,
    #[serde(serialize_with = "seconds")]
    pub(crate) held_for_at_least: Option<Duration>,
    pub(crate) waiters: Option<u32>,
    #[serde(serialize_with = "seconds")]
    pub(crate) longest_wait: Option<Duration>,
    /// The reason why the holder is not certain, or not known.
    pub(crate) doubt: Option<String>,
    /// The death that is not dealt with.
    pub(crate) death: Option<Death>,
}

impl Row {
    /// A lock with unknown properties.
    pub(crate) fn new(id: LockId) -> Self {
        Self {
            id,
            state: State::Unknown,
            allocated: false,
            label: Label::default(),
            is_named: false,
            is_temporary: false,
            generation: None,
            since: None,
            allocator: None,
            allocator_lives: None,
            held: None,
            holder: None,
            held_for_at_least: None,
            waiters: None,
            longest_wait: None,
            doubt: None,
            death: None,
        }
    }

    /// Returns one lock, allocated or not.
    pub(super) fn of(store: &Store, lock: &Lock) -> Result<Self, Failure> {
        let mut row = Self::from(entries::of(store, lock)?);
        row.find_allocator(&mut Lives::new());
        Ok(row)
    }

    /// Finds out whether the allocator lives.
    pub(super) fn find_allocator(&mut self, lives: &mut Lives) {
        self.allocator_lives = self.allocator.as_ref().and_then(|allocator| match lives.of(allocator) {
            Life::Lives => Some(true),
            Life::Ended => Some(false),
            _ => None,
        });
    }

    pub(super) fn add_allocation(&mut self, allocation: Allocation) {
        self.allocated = true;
        self.label = allocation.label;
        self.is_named = allocation.is_named;
        self.is_temporary = allocation.is_temporary;
        self.generation = allocation.generation;
        self.since = allocation.since;
        self.allocator = allocation.allocator;
    }

    /// Adds what the list of held locks says: the lock is in it, or not.
    pub(super) fn add_held(&mut self, held: Option<HeldLock>) {
        self.held = Some(held.is_some());
        self.state = State::Free;
        if let Some(held) = held {
            self.state = if held.doubt.is_some() { State::Doubt } else { State::Held };
            self.holder = held.holder;
            self.waiters = held.waiters;
            self.held_for_at_least = held.held_for_at_least;
            self.doubt = held.doubt;
        }
    }

    pub(super) fn add_death(&mut self, death: UnresolvedDeath) {
        // The lists were read one after the other. A live holder of the newer list has taken the lock over.
        self.state = match (death.is_released, self.held, &self.holder) {
            (true, Some(true), _) => return,
            (true, ..) => State::Inconsistent,
            (false, Some(true), holder) if *holder != death.death.holder => return,
            (false, ..) => State::DeadHolder,
        };
        self.death = Some(death.death);
    }
}

/// The only lock of a store.
impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        let state = match (entry.held, &entry.doubt) {
            (_, Some(doubt)) if doubt == entries::DEAD => State::DeadHolder,
            (_, Some(_)) => State::Doubt,
            (Some(true), None) => State::Held,
            (Some(false), None) => State::Free,
            (None, None) => State::Unknown,
        };
        Self {
            state,
            allocated: entry.allocated,
            label: entry.label,
            is_named: entry.is_named,
            is_temporary: entry.is_temporary,
            generation: entry.generation,
            since: entry.since,
            allocator: entry.allocator,
            held: entry.held,
            holder: entry.holder,
            waiters: entry.waiters,
            held_for_at_least: entry.held_for_at_least,
            doubt: entry.doubt,
            ..Self::new(entry.id)
        }
    }
}
