//! The copies of lock-core's table, and stand-ins for its file and its processes: each thread is a process.

#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
mod allocation {
    include!(concat!(env!("OUT_DIR"), "/allocation.rs"));
}
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
mod bitmap {
    include!(concat!(env!("OUT_DIR"), "/bitmap.rs"));
}
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
mod owner {
    include!(concat!(env!("OUT_DIR"), "/owner.rs"));
}
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
mod record {
    include!(concat!(env!("OUT_DIR"), "/record.rs"));
}
mod hot;
mod segment;
mod slot;
#[path = "../../../model/src/table/sparse.rs"]
mod sparse;

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use self::segment::Segment;
use crate::{Cause, ErrorKind, LockId, Result, sys};

pub(crate) use self::hot::Hot;
pub(crate) use self::owner::Owner;
pub(crate) use self::slot::Slot;

/// At most so many threads.
pub(crate) const THREADS: usize = 4;

/// Generations of processes: all are the first of their entries.
const GENERATION: u64 = 1;

/// A thread, alone in its process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In the namespace of the store's creator.
    AtHome,
    /// The same, in a system without barriers.
    WithoutBarriers,
    /// In another PID namespace, with a thread id that one at home has.
    Foreign,
}

/// A table with one lock and a few ids.
pub(crate) struct Table {
    header: Header,
    /// Nothing is reserved.
    file: (),
    segment: Segment,
    hot: Hot,
    death: AtomicU64,
    kinds: Vec<Kind>,
    gone: [AtomicBool; THREADS],
}

struct Header {
    bound: Bound,
}

struct Bound(u64);

impl Bound {
    fn limit(&self) -> u64 {
        self.0
    }
}

impl Table {
    /// Kept for ever, as a table is while a lock of it is held.
    pub(crate) fn new(kinds: &[Kind]) -> &'static Self {
        assert!(kinds.len() <= THREADS, "there are too many threads");
        let segment = Segment::new();
        Box::leak(Box::new(Self {
            header: Header { bound: Bound(segment.ids()) },
            file: (),
            segment,
            hot: Hot::new(),
            death: AtomicU64::new(0),
            kinds: kinds.to_vec(),
            gone: Default::default(),
        }))
    }

    /// The lock.
    pub(crate) fn slot(&'static self) -> Slot {
        Slot::new(self, &self.hot, &self.death)
    }

    fn owner(&self, thread: usize) -> Owner {
        Owner::of_process(thread, GENERATION).with_thread(self.tid(thread))
    }

    fn thread(owner: Owner) -> usize {
        owner.entry()
    }

    pub(crate) fn tid(&self, thread: usize) -> u32 {
        let is_at_home = |thread: usize| self.kinds[thread] != Kind::Foreign;
        11 + (0..thread).filter(|other| is_at_home(*other) == is_at_home(thread)).count() as u32
    }

    pub(crate) fn has_barriers(&self, thread: usize) -> bool {
        self.kinds[thread] != Kind::WithoutBarriers
    }

    pub(crate) fn me(&self) -> Result<Owner> {
        Ok(self.owner(sys::me().number))
    }

    fn me_at_home(&self) -> Option<Owner> {
        let number = sys::me().number;
        (self.kinds[number] != Kind::Foreign).then(|| self.owner(number))
    }

    /// From here on the death of the calling thread can be proved.
    pub(crate) fn leave(&self) {
        self.gone[sys::me().number].store(true, Release);
    }

    pub(crate) fn is_gone(&self, owner: Owner) -> bool {
        !owner.is_none() && self.gone[Self::thread(owner)].load(Acquire)
    }

    pub(crate) fn is_identity_gone(&self, number: u32) -> bool {
        Owner::of_identity_number(number, |_| Some(GENERATION)).is_some_and(|process| self.is_gone(process))
    }

    pub(crate) fn claim(&self, word: &AtomicU64, me: Owner) -> bool {
        me.claim(word, |other| self.is_gone(other))
    }

    fn cause(&self, _: Owner) -> Cause {
        let _ = self;
        Cause::ProcessEnded
    }

    fn describe(&self, owner: Owner) -> Option<usize> {
        let _ = self;
        Some(Self::thread(owner))
    }

    fn command(&self) -> &'static str {
        let _ = self;
        "weak"
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        Some(self.header.bound.limit())
    }

    fn check_now_and_then(&self) -> Result<()> {
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        Ok(())
    }

    fn check_range(&self, id: LockId) -> Result<()> {
        let capacity = self.header.bound.limit();
        if u64::from(id.get()) < capacity { Ok(()) } else { Err(ErrorKind::OutOfRange { capacity }.into()) }
    }

    fn find(&self, id: LockId) -> Result<(&Segment, usize)> {
        self.check_range(id)?;
        Ok((&self.segment, layout::locate(id).1))
    }

    fn segment_numbers(&self) -> impl Iterator<Item = usize> {
        0..1
    }

    fn has_segment(&self, number: usize) -> bool {
        number == 0
    }

    fn present(&self) -> impl Iterator<Item = Result<&Segment>> {
        self.segment_numbers().map(|number| self.segment(number))
    }

    fn segment(&self, _: usize) -> Result<&Segment> {
        Ok(&self.segment)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// Where things are: there is one segment.
mod layout {
    use crate::LockId;

    pub(super) fn locate(id: LockId) -> (usize, usize) {
        (0, id.get() as usize)
    }
}
