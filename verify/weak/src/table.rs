//! Stand-ins for the parts of lock-table that handle files and processes. Each thread is a process.

#[path = "model/table/ids.rs"]
mod ids;
pub(crate) mod layout;
pub(crate) mod segment;
#[path = "model/table/slot.rs"]
pub(crate) mod slot;
#[path = "model/table/sparse.rs"]
pub(crate) mod sparse;

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use real_core::Result;

use self::ids::{Bound, Header};
use self::segment::Segment;
use self::slot::Slot;
use crate::lock_line::LockLine;
use crate::member::{Kind, Member};
use crate::owner::Owner;
use crate::record::Birth;

/// Maximum number of threads.
pub(crate) const THREADS: usize = 4;

/// The generation of every process entry.
const GENERATION: u64 = 1;

/// A table with one lock and a few ids.
pub(crate) struct Table {
    pub(crate) header: Header,
    /// A stand-in for the file. No memory is reserved.
    pub(crate) file: (),
    segment: Segment,
    line: LockLine,
    death: AtomicU64,
    kinds: Vec<Kind>,
    gone: [AtomicBool; THREADS],
}

impl Table {
    /// Creates a table that is never freed, because a table is not unmapped while one of its locks is held.
    pub(crate) fn new(kinds: &[Kind]) -> &'static Self {
        assert!(kinds.len() <= THREADS, "{} threads; at most {THREADS} are allowed", kinds.len());
        let segment = Segment::new();
        Box::leak(Box::new(Self {
            header: Header { bound: Bound(segment.ids()) },
            file: (),
            segment,
            line: LockLine::default(),
            death: AtomicU64::new(0),
            kinds: kinds.to_vec(),
            gone: Default::default(),
        }))
    }

    /// Returns the lock.
    pub(crate) fn slot(&'static self) -> Slot {
        Slot::new(self, &self.line, &self.death)
    }

    fn owner(&self, thread: usize) -> Owner {
        Owner::from_process(thread, GENERATION).with_thread(Member::of(&self.kinds, thread).tid)
    }

    fn thread(owner: Owner) -> usize {
        owner.entry()
    }

    pub(crate) fn current_owner(&self) -> Result<Owner> {
        Ok(self.owner(Member::current().number))
    }

    fn current_owner_at_home(&self) -> Option<Owner> {
        let me = Member::current();
        me.is_at_home().then(|| self.owner(me.number))
    }

    /// Makes the death of the calling thread provable.
    pub(crate) fn leave(&self) {
        self.gone[Member::current().number].store(true, Release);
    }

    pub(crate) fn is_gone(&self, owner: Owner) -> bool {
        !owner.is_none() && self.gone[Self::thread(owner)].load(Acquire)
    }

    pub(crate) fn is_identity_gone(&self, number: u32) -> bool {
        Owner::from_identity_number(number, |_| Some(GENERATION)).is_some_and(|process| self.is_gone(process))
    }

    pub(crate) fn describe(&self, owner: Owner) -> Option<usize> {
        let _ = self;
        Some(Self::thread(owner))
    }

    pub(crate) fn command(&self) -> &'static str {
        let _ = self;
        "weak"
    }

    pub(crate) fn birth(&self) -> Birth {
        let _ = self;
        Birth::default()
    }
}
