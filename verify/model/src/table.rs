//! Stand-ins for the parts of lock-table that handle files and processes.

mod ids;
pub(crate) mod layout;
pub(crate) mod segment;
pub(crate) mod slot;
pub(crate) mod sparse;

use real_core::{Allocation, Result};

use self::ids::{Bound, Header};
use self::segment::Segment;
use crate::bounds::EARLIER;
use crate::death::Cause;
use crate::env::AtomicU64;
use crate::op::Op;
use crate::owner::Owner;
use crate::record::Birth;
use crate::scenario::{InitialLock, Scenario};
use crate::state;
use crate::step;

/// The generation of every process entry.
const GENERATION: u64 = 1;

/// The calling thread's view of the table.
pub(crate) struct Table {
    pub(crate) header: Header,
    /// A stand-in for the file. No memory is reserved.
    pub(crate) file: (),
    segment: Segment,
    owners: Vec<Owner>,
    /// For each thread, whether it is at home.
    at_home: Vec<bool>,
}

impl Table {
    pub(crate) fn new(words: &'static [AtomicU64], capacity: u64, scenario: &Scenario) -> Self {
        let numbers = 0..=EARLIER;
        let owner = |number| Owner::from_process(scenario.process(number), GENERATION).with_thread(scenario.tid(number));
        Self {
            header: Header { bound: Bound(capacity) },
            file: (),
            segment: Segment::new(words, capacity as usize),
            owners: numbers.clone().map(owner).collect(),
            at_home: numbers.map(|number| scenario.is_at_home(number)).collect(),
        }
    }

    pub(crate) fn current_owner(&self) -> Result<Owner> {
        Ok(self.owners[state::with(|state| state.current)])
    }

    pub(crate) fn current_owner_at_home(&self) -> Option<Owner> {
        let number = state::with(|state| state.current);
        self.at_home[number].then(|| self.owners[number])
    }

    /// Returns the owner words of the threads, the observer, and the [`EARLIER`] owner.
    pub(crate) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Returns the thread of an owner word, or the first thread of the process if the word has no thread.
    pub(crate) fn thread(&self, owner: Owner) -> Option<usize> {
        self.owners.iter().position(|other| *other == owner || other.process() == owner)
    }

    /// Returns the lock word, the owner and the death that an earlier owner left.
    pub(crate) fn initial(&self, initial: InitialLock) -> Option<[u64; 3]> {
        let owner = self.owners[EARLIER];
        let died = u64::from(libc::FUTEX_OWNER_DIED);
        match initial {
            InitialLock::Free => None,
            InitialLock::Death => Some([died, owner.word(), 0]),
            InitialLock::ForeignDeath => Some([owner.identity_number().into(), owner.word(), 0]),
            InitialLock::Inconsistent => {
                let death = owner.with_note(Cause::ProcessEnded.number());
                Some([died, Owner::INCONSISTENT.word(), death.word()])
            }
        }
    }

    pub(crate) fn is_gone(&self, owner: Owner) -> bool {
        if owner.tid() == 0 {
            return self.is_dead(owner);
        }
        let thread = self.thread(owner);
        thread.is_some_and(|thread| step::call(Op::Gone { thread, whole: false }) != 0)
    }

    pub(crate) fn is_dead(&self, owner: Owner) -> bool {
        let thread = self.owners.iter().position(|other| other.process() == owner.process());
        thread.is_some_and(|thread| step::call(Op::Gone { thread, whole: true }) != 0)
    }

    pub(crate) fn is_identity_gone(&self, number: u32) -> bool {
        Owner::from_identity_number(number, |_| Some(GENERATION)).is_some_and(|process| self.is_dead(process))
    }

    pub(crate) fn describe(&self, owner: Owner) -> Option<usize> {
        self.thread(owner)
    }

    pub(crate) fn command(&self) -> &'static str {
        let _ = self;
        "model"
    }

    pub(crate) fn birth(&self) -> Birth {
        let _ = self;
        Birth::default()
    }

    pub(crate) fn is_allocated(&self, index: usize) -> bool {
        self.segment.allocated().get(index)
    }

    /// Returns the first free id that a search by the hints finds.
    pub(crate) fn first_free(&self) -> Option<usize> {
        self.segment.allocated().find(0)
    }

    /// Returns the allocation of an id.
    pub(crate) fn read(&self, index: usize) -> Option<Allocation> {
        self.segment.read(index)
    }
}
