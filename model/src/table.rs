//! The copies of lock-core's table, and stand-ins for the parts of it that are about files and processes.

#[allow(dead_code, unused_imports, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
pub(crate) mod allocation {
    include!(concat!(env!("OUT_DIR"), "/allocation.rs"));
}
#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
pub(crate) mod bitmap {
    include!(concat!(env!("OUT_DIR"), "/bitmap.rs"));
}
#[allow(dead_code, unreachable_pub, reason = "most of it is a copy")]
pub(crate) mod hot;
#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
pub(crate) mod owner {
    include!(concat!(env!("OUT_DIR"), "/owner.rs"));
}
#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "they are copies")]
pub(crate) mod record {
    include!(concat!(env!("OUT_DIR"), "/record.rs"));
}
pub(crate) mod segment;

use std::fmt;

pub(crate) use self::hot::Hot;
pub(crate) use self::owner::Owner;
use self::segment::Segment;
use crate::scene::Memory;
use crate::sync::AtomicU64;
use crate::world::{self, Op};
use crate::{Acquired, ErrorKind, Generation, Holder, LockId, Result, step};

/// The calling thread's view of the table.
pub(crate) struct Table {
    header: Header,
    /// Nothing is reserved.
    file: (),
    command: String,
    segment: Segment,
    memory: &'static Memory,
    tids: Vec<u32>,
    unique: bool,
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
    pub(crate) fn new(memory: &'static Memory, capacity: u64, tids: Vec<u32>, unique: bool) -> Self {
        let segment = Segment::new(memory, capacity as usize);
        Self { header: Header { bound: Bound(capacity) }, file: (), command: "model".to_owned(), segment, memory, tids, unique }
    }

    pub(crate) fn me(&self) -> Result<Owner> {
        Ok(self.owner(world::with(|world| world.current)))
    }

    /// The word of a thread: each is alone in its process, whose seat has its number.
    fn owner(&self, thread: usize) -> Owner {
        Owner::of_seat(thread, 1).with_thread(self.tids[thread])
    }

    /// The thread that a word means.
    pub(crate) fn thread(owner: Owner) -> usize {
        owner.seat()
    }

    pub(crate) fn is_gone(&self, owner: Owner) -> bool {
        !owner.is_none() && step::call(Op::Gone(owner.seat())) != 0
    }

    /// With one thread in a process, the same.
    pub(crate) fn is_dead(&self, owner: Owner) -> bool {
        self.is_gone(owner)
    }

    pub(crate) fn thread_ids_are_unique(&self) -> bool {
        self.unique
    }

    pub(crate) fn claim(&self, word: &AtomicU64, me: Owner) -> bool {
        me.claim(word, |other| self.is_dead(other))
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        Some(self.header.bound.limit())
    }

    pub(crate) fn is_allocated(&self, index: usize) -> bool {
        self.segment.allocated().get(index)
    }

    /// The first free id that the hints let one see.
    pub(crate) fn first_free(&self) -> Option<usize> {
        self.segment.allocated().find(0)
    }

    /// Who allocated an id, and whether its record is whole.
    pub(crate) fn read(&self, index: usize) -> Option<crate::Allocation> {
        self.segment.read(index)
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
        let (number, index) = layout::locate(id);
        Ok((self.segment(number)?, index))
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

/// One lock of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    table: &'static Table,
    number: usize,
}

impl Slot {
    pub(crate) fn new(table: &'static Table, number: usize) -> Self {
        Self { table, number }
    }

    pub(crate) fn table(&self) -> &Table {
        self.table
    }

    pub(crate) fn hot(&self) -> &Hot {
        &self.table.memory.locks[self.number]
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation::new(1)
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        None
    }

    pub(crate) fn me(&self, _: u32) -> Result<Owner> {
        self.table.me()
    }

    pub(crate) fn me_at_once(&self, _: u32) -> Option<Owner> {
        self.table.me().ok()
    }

    pub(crate) fn acquired(&self, token: u64, before: Owner) -> Acquired {
        if before.is_none() { Acquired::Held { token } } else { Acquired::Recovered { token, dead: Table::thread(before) } }
    }
}
